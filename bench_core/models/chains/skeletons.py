"""Modules of many blocks from one skeleton for each kind: building one by its library takes ms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import nn

from bench_core.errors import TensorMismatchError
from bench_core.models.chains.modules import skeleton
from bench_core.models.chains.spec import BlockSpec


class Skeletons:
    """Builds each kind of block once; a block's module is a copy of it with the block's tensors.

    Not for several threads at once.
    """

    def __init__(self) -> None:
        self._made: dict[BlockSpec, nn.Module] = {}
        self._shapes: dict[BlockSpec, dict[str, torch.Size]] = {}

    def block_module(self, spec: BlockSpec, tensors: Mapping[str, torch.Tensor]) -> nn.Module:
        """Return the block's module with these very tensors in it: nothing is copied.

        Raises:
            TensorMismatchError: the tensors' names or shapes are not those of the block.
        """
        if spec not in self._made:
            made = skeleton(spec)
            self._made[spec] = made
            self._shapes[spec] = {name: held.shape for name, held in made.state_dict().items()}
        shapes = self._shapes[spec]
        found = {name: tensor.shape for name, tensor in tensors.items()}
        if found != shapes:
            raise TensorMismatchError(
                f"{spec.kind}: the tensors are not those of the block, "
                f"{', '.join(_differences(found, shapes))}"
            )
        return _filled(self._made[spec], tensors, "")


def _filled(module: nn.Module, tensors: Mapping[str, torch.Tensor], prefix: str) -> nn.Module:
    """Return a module that shares all but parameters, buffers and children with ``module``."""
    copy = module.__new__(type(module))
    copy.__dict__.update(module.__dict__)
    copy.__dict__["_parameters"] = {
        name: None if held is None else nn.Parameter(tensors[prefix + name], requires_grad=False)
        for name, held in module._parameters.items()
    }
    copy.__dict__["_buffers"] = {
        name: tensors.get(prefix + name, held) for name, held in module._buffers.items()
    }
    copy.__dict__["_modules"] = {
        name: None if child is None else _filled(child, tensors, f"{prefix}{name}.")
        for name, child in module._modules.items()
    }
    return copy


def _differences(
    found: Mapping[str, torch.Size], expected: Mapping[str, torch.Size]
) -> Iterator[str]:
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            yield f"{name}: found {_shape(found.get(name))}, expected {_shape(expected.get(name))}"


def _shape(shape: torch.Size | None) -> str:
    return "none" if shape is None else str(tuple(shape))
