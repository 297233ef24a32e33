"""What a block needs, for one item: parameters, output bytes, floating-point operations."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench_core.models.chains.live_memory import LiveMemory
from bench_core.models.chains.modules import skeleton, tensors_of
from bench_core.models.chains.spec import Activation, BlockSpec, InputKind


@dataclass(frozen=True)
class ItemShape:
    """Shape and type of one item of a tensor, without the batch."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


ItemShapes = tuple[ItemShape, ...]
"""Of an activation: one for each of its tensors."""


@dataclass(frozen=True)
class BlockResources:
    """What a block needs and gives."""

    n_parameters: int
    """Trainable ones; running statistics are none."""
    nbytes: int
    """Of all its tensors."""
    flops: int
    """Floating-point operations of one item: two for each multiply-add of convolutions, matrix
    products and attention; nothing else counts."""
    output: ItemShapes
    working_bytes: int
    """Most bytes of one item that are alive at once while the block runs, its output included, its
    input not; without the scratch memory of convolutions and matrix products."""

    @property
    def output_bytes(self) -> int:
        """Bytes of one item of its output."""
        return sum(item.nbytes for item in self.output)


def input_shapes(kind: InputKind, shape: tuple[int, ...]) -> ItemShapes:
    """Return the shapes of an input: see `InputSpec`."""
    if kind == "tokens":
        return (ItemShape(shape, torch.int64), ItemShape(shape, torch.int64))
    return (ItemShape(shape, torch.float32),)


def chain_resources(blocks: Sequence[BlockSpec], inputs: ItemShapes) -> list[BlockResources]:
    """Return what each block of a chain needs when the chain is fed such an input.

    Raises:
        RuntimeError: the input does not fit a block.
        UnsupportedError: it is more than a block has room for, such as a text longer than there
            are positions.
    """
    found = []
    for spec in blocks:
        found.append(block_resources(spec, inputs))
        inputs = found[-1].output
    return found


@functools.lru_cache(maxsize=4096)
def block_resources(spec: BlockSpec, inputs: ItemShapes) -> BlockResources:
    """Return what the block needs for one item of such an input; nothing large is computed."""
    module = skeleton(spec)
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        output, working_bytes = _forward(module, inputs)
    return BlockResources(
        n_parameters=sum(parameter.numel() for parameter in module.parameters()),
        nbytes=sum(tensor.nbytes for tensor in module.state_dict().values()),
        flops=counter.get_total_flops(),
        output=tuple(ItemShape(tuple(t.shape[1:]), t.dtype) for t in tensors_of(output)),
        working_bytes=working_bytes,
    )


def _forward(module: nn.Module, inputs: ItemShapes) -> tuple[Activation, int]:
    """Run one item through the block on ``meta``; on the CPU where it must look at values.

    Returns:
        Its output, and the most bytes that were alive at once.
    """
    try:
        return _run(module, inputs, "meta")
    except (NotImplementedError, RuntimeError):
        return _run(module.to_empty(device="cpu"), inputs, "cpu")


def _run(module: nn.Module, inputs: ItemShapes, device: str) -> tuple[Activation, int]:
    tensors = tuple(torch.ones((1, *i.shape), dtype=i.dtype, device=device) for i in inputs)
    with LiveMemory([*tensors, *module.state_dict().values()]) as memory:
        output: Activation = module(tensors if len(tensors) > 1 else tensors[0])
    return output, memory.peak
