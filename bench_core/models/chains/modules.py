"""Blocks as modules: skeletons without memory, blocks with their tensors, initialised blocks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import nn

from bench_core.errors import TensorMismatchError
from bench_core.models.chains.family import family
from bench_core.models.chains.spec import Activation, BlockSpec
from bench_core.models.skip_initialisation import SkipInitialisation


def skeleton(spec: BlockSpec) -> nn.Module:
    """Return the block's module on ``meta``, in evaluation mode: shapes without memory.

    Raises:
        UnknownNameError: no family has such a block.
    """
    with torch.device("meta"), SkipInitialisation():
        return family(spec.family).module(spec).eval()


def block_module(spec: BlockSpec, tensors: Mapping[str, torch.Tensor]) -> nn.Module:
    """Return the block's module with these very tensors in it: nothing is copied.

    Raises:
        TensorMismatchError: the tensors' names or shapes are not those of the block.
    """
    module = skeleton(spec)
    try:
        module.load_state_dict(dict(tensors), strict=True, assign=True)
    except RuntimeError as error:
        raise TensorMismatchError(
            f"{spec.kind}: the tensors are not those of the block, {' '.join(str(error).split())}"
        ) from error
    return module.requires_grad_(False)


def initialised(spec: BlockSpec, seed: int) -> dict[str, torch.Tensor]:
    """Return the tensors of a freshly initialised block, the same for the same seed.

    The distribution is the library's own for such a block; torch's global generator is left as
    it was.
    """
    owner = family(spec.family)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        with torch.device("cpu"), SkipInitialisation():
            module = owner.module(spec)
        owner.initialise(module)
    return {name: tensor.detach() for name, tensor in module.state_dict().items()}


def run_blocks(modules: Iterable[nn.Module], inputs: Activation) -> Activation:
    """Return what neighbouring blocks make of their input."""
    for module in modules:
        inputs = module(inputs)
    return inputs


def tensors_of(activation: Activation) -> tuple[torch.Tensor, ...]:
    """Return the tensors of which an activation consists."""
    return activation if isinstance(activation, tuple) else (activation,)


def features_of(activation: Activation) -> torch.Tensor:
    """Return what counts of an activation: of a last block's, ``(batch, feature_dim)``."""
    return tensors_of(activation)[0]


def nbytes_of(activation: Activation) -> int:
    """Return the bytes of an activation."""
    return sum(tensor.nbytes for tensor in tensors_of(activation))


def run_chain(modules: Iterable[nn.Module], inputs: Activation) -> torch.Tensor:
    """Return the features, ``(batch, feature_dim)``, that a whole chain makes of an input."""
    return features_of(run_blocks(modules, inputs))
