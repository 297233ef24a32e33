"""Which elements of a stored tensor a slice needs: the range from its first to its last."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Part:
    """A slice of a row-major tensor within the range of elements that encloses it."""

    first: int
    """Number of the first element, in the tensor's order."""
    count: int
    """Elements from the first to the last, both included; 0 where the slice is empty."""
    shape: tuple[int, ...]
    """Shape of the slice."""
    strides: tuple[int, ...]
    """Steps of the slice's dimensions within the range."""

    def within(self, flat: torch.Tensor) -> torch.Tensor:
        """Return the slice as a view of the enclosing elements."""
        if self.count == 0:
            return flat.new_empty(self.shape)
        return flat.as_strided(self.shape, self.strides)

    def of(self, flat: torch.Tensor) -> torch.Tensor:
        """Return the slice out of the enclosing elements, without what else they hold."""
        return self.within(flat).contiguous()


def enclosing(shape: tuple[int, ...], index: tuple[slice, ...]) -> Part:
    """Return the part of a tensor of ``shape`` that ``index`` selects.

    Raises:
        ValueError: a step below 1, or more slices than dimensions.
    """
    if len(index) > len(shape):
        raise ValueError(f"{len(index)} slices for a tensor of {len(shape)} dimensions")
    ranges = []
    for length, cut in zip(
        shape, (*index, *[slice(None)] * (len(shape) - len(index))), strict=True
    ):
        if cut.step is not None and cut.step < 1:
            raise ValueError(f"step {cut.step} in a slice, at least 1 expected")
        ranges.append(range(*cut.indices(length)))
    sizes = tuple(map(len, ranges))
    if 0 in sizes:
        return Part(0, 0, sizes, sizes)
    strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    first = sum(r[0] * stride for r, stride in zip(ranges, strides, strict=True))
    last = sum(r[-1] * stride for r, stride in zip(ranges, strides, strict=True))
    steps = tuple(r.step * stride for r, stride in zip(ranges, strides, strict=True))
    return Part(first, last - first + 1, sizes, steps)
