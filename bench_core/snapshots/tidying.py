"""Makes others' tensors those of a chain: missing counters, old names, half precision, shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import torch

from bench_core.errors import TensorMismatchError, UnsupportedError
from bench_core.models.chains import BlockSpec, ChainSpec, skeleton

_COUNTER: Final = "num_batches_tracked"
_OLD: Final = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
"""Endings of names in the checkpoints that were converted from TensorFlow."""

_FLOATS: Final = (torch.float32, torch.float16, torch.bfloat16)
"""What float32 can hold exactly."""


def completed(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a state dict with today's names, and with the counters that BatchNorms may lack.

    A frozen BatchNorm counts no batches, and old files have no counters; evaluation uses none.
    """
    found = {_renamed(name): tensor for name, tensor in state.items()}
    for name in list(found):
        start, dot, last = name.rpartition(".")
        if last == "running_var":
            found.setdefault(f"{start}{dot}{_COUNTER}", torch.zeros((), dtype=torch.int64))
    return found


def tidied(
    chain: ChainSpec, blocks: Sequence[Mapping[str, torch.Tensor]]
) -> list[dict[str, torch.Tensor]]:
    """Return the tensors of a chain's blocks in the types that the blocks compute with.

    Raises:
        TensorMismatchError: a tensor has another shape than its block.
        UnsupportedError: a tensor is quantised, or of a type that float32 cannot hold.
    """
    return [
        _block(f"block {index} ({spec.kind})", spec, tensors)
        for index, (spec, tensors) in enumerate(zip(chain.blocks, blocks, strict=True))
    ]


def _block(
    where: str, spec: BlockSpec, tensors: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    found = {}
    for name, expected in skeleton(spec).state_dict().items():
        tensor = tensors[name]
        if tensor.shape != expected.shape:
            raise TensorMismatchError(
                f"{where}: {name} is {list(tensor.shape)}, the configuration says "
                f"{list(expected.shape)}"
            )
        found[name] = widened(f"{where}: {name}", tensor, expected.dtype)
    return found


def widened(what: str, tensor: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Return a tensor in the given type, with the very same values.

    Raises:
        UnsupportedError: it is quantised, or of a type that float32 cannot hold.
    """
    fits = tensor.dtype in _FLOATS if dtype.is_floating_point else not tensor.is_floating_point()
    if not fits:
        kinds = ", ".join(str(kind).removeprefix("torch.") for kind in _FLOATS)
        raise UnsupportedError(
            f"{what} is {str(tensor.dtype).removeprefix('torch.')}, expected "
            f"{kinds if dtype.is_floating_point else dtype}; quantised models are not supported"
        )
    return tensor.to(dtype)


def _renamed(name: str) -> str:
    for old, new in _OLD.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name
