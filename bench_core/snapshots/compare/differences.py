"""How far the values of two tensors are apart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from bench_core.errors import UnsupportedError
from bench_core.snapshots.compare.bits import (
    CHUNK_ELEMENTS,
    BitStatistics,
    bit_statistics,
    chunks,
)


@dataclass(frozen=True)
class Difference:
    """Over the absolute differences of two tensors' elements, in float64."""

    mse: float
    """Mean of their squares; NaN where no difference is finite."""
    smallest: float
    mean: float
    largest: float
    finite: int
    """Elements whose difference is finite: the figures are over these."""
    not_finite: int
    """Elements left out: NaN or infinity in either tensor."""
    bits: BitStatistics | None
    """None where the tensors' types differ."""

    def as_json(self) -> dict[str, Any]:
        """Return all figures by name; None where one is no number."""
        figures = {
            "mse": self.mse,
            "min_abs": self.smallest,
            "mean_abs": self.mean,
            "max_abs": self.largest,
        }
        return {
            **{name: value if math.isfinite(value) else None for name, value in figures.items()},
            "finite": self.finite,
            "not_finite": self.not_finite,
            "xor": self.bits.as_json() if self.bits is not None else None,
        }


def difference(
    a: torch.Tensor, b: torch.Tensor, chunk_elements: int = CHUNK_ELEMENTS
) -> Difference:
    """Compare the values of two tensors of one shape, and if their types agree, their bits.

    Integers beyond 2**53 are rounded; of complex numbers the modulus of the difference counts.

    Args:
        a: of any type.
        b: of the same shape.
        chunk_elements: worked on at once, so that large tensors need no second memory.

    Raises:
        UnsupportedError: the shapes differ.
    """
    if a.shape != b.shape:
        raise UnsupportedError(
            f"tensors of {list(a.shape)} and {list(b.shape)} cannot be compared by value; the "
            "shapes must be equal"
        )
    left, right = _flat(a), _flat(b)
    total = squares = largest = 0.0
    smallest, finite = math.inf, 0
    for part in chunks(left.numel(), chunk_elements):
        apart = (_wide(left[part]) - _wide(right[part])).abs()
        apart = apart[apart.isfinite()]
        if apart.numel():
            finite += apart.numel()
            total += apart.sum().item()
            squares += apart.square().sum().item()
            smallest = min(smallest, apart.min().item())
            largest = max(largest, apart.max().item())
    return Difference(
        mse=squares / finite if finite else math.nan,
        smallest=smallest if finite else math.nan,
        mean=total / finite if finite else math.nan,
        largest=largest if finite else math.nan,
        finite=finite,
        not_finite=left.numel() - finite,
        bits=bit_statistics(a, b, chunk_elements) if a.dtype == b.dtype else None,
    )


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().cpu().contiguous().view(-1)


def _wide(part: torch.Tensor) -> torch.Tensor:
    return part.to(torch.complex128 if part.is_complex() else torch.float64)
