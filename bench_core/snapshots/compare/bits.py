"""The bits in which two tensors differ: what a delta encoding of one by the other could save."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from bench_core.errors import UnsupportedError

CHUNK_ELEMENTS: Final = 1 << 16
"""Compared at once: the work of 1 to 8 bytes an element stays within a processor's cache."""

_UNSIGNED: Final[dict[int, type[np.unsignedinteger[Any]]]] = {
    1: np.uint8,
    2: np.uint16,
    4: np.uint32,
    8: np.uint64,
}


@dataclass(frozen=True)
class BitStatistics:
    """Over the bitwise exclusive or of two tensors' elements; complex numbers count as two."""

    width: int
    """Bits of an element."""
    zero_bits: int
    """Bits that are equal in both tensors, of all elements together."""
    leading: tuple[int, ...]
    """How many elements have 0, 1, …, ``width`` leading zeros: equal sign, exponent, and so on."""
    trailing: tuple[int, ...]
    """The same for trailing zeros."""

    @property
    def elements(self) -> int:
        """How many elements were compared."""
        return sum(self.leading)

    @property
    def zero_share(self) -> float:
        """Share of the bits that are equal; 1 of none."""
        bits = self.elements * self.width
        return self.zero_bits / bits if bits else 1.0

    @property
    def mean_leading(self) -> float:
        """Leading zeros of an element on average; the width of none."""
        return _mean(self.leading)

    @property
    def mean_trailing(self) -> float:
        """Trailing zeros of an element on average; the width of none."""
        return _mean(self.trailing)

    def as_json(self) -> dict[str, Any]:
        """Return all figures by name."""
        return {
            "width": self.width,
            "zero_share": self.zero_share,
            "mean_leading_zeros": self.mean_leading,
            "mean_trailing_zeros": self.mean_trailing,
            "leading_zeros": list(self.leading),
            "trailing_zeros": list(self.trailing),
        }


def bit_statistics(
    a: torch.Tensor, b: torch.Tensor, chunk_elements: int = CHUNK_ELEMENTS
) -> BitStatistics:
    """Compare two tensors of one type and shape bit by bit.

    Args:
        a: any type of 1, 2, 4 or 8 bytes an element, or complex numbers of such.
        b: of the same type and shape.
        chunk_elements: worked on at once; beside the tensors some 50 bytes for each are needed.

    Raises:
        UnsupportedError: types or shapes differ.
    """
    if a.dtype != b.dtype or a.shape != b.shape:
        raise UnsupportedError(
            f"bits of {a.dtype} {list(a.shape)} and {b.dtype} {list(b.shape)} cannot be compared; "
            "types and shapes must be equal"
        )
    left, right = as_unsigned(a), as_unsigned(b)
    width = 8 * left.itemsize
    leading, trailing = np.zeros(width + 1, np.int64), np.zeros(width + 1, np.int64)
    zero_bits = 0
    for part in chunks(left.size, chunk_elements):
        differing = left[part] ^ right[part]
        leading += np.bincount(leading_zeros(differing), minlength=width + 1)
        trailing += np.bincount(trailing_zeros(differing), minlength=width + 1)
        zero_bits += differing.size * width - ones(differing)
    return BitStatistics(width, zero_bits, tuple(leading.tolist()), tuple(trailing.tolist()))


def as_unsigned(tensor: torch.Tensor) -> npt.NDArray[Any]:
    """Return a tensor's elements as unsigned integers of their width, ``(n,)``; no copy is made.

    Of a tensor that is not contiguous, or not on the host, one is.
    """
    flat = tensor.detach().cpu().contiguous().view(-1)
    if flat.is_complex():
        flat = torch.view_as_real(flat).view(-1)
    found: npt.NDArray[Any] = flat.view(torch.uint8).numpy().view(_UNSIGNED[flat.itemsize])
    return found


def chunks(size: int, chunk_elements: int) -> Iterator[slice]:
    """Yield the parts of a flat tensor in order."""
    for start in range(0, size, chunk_elements):
        yield slice(start, min(start + chunk_elements, size))


def leading_zeros(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the number of zeros before the first one bit of each unsigned integer, ``(n,)``."""
    return 8 * values.itemsize - _bit_length(values)


def trailing_zeros(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the number of zeros behind the last one bit of each unsigned integer, ``(n,)``."""
    # Of x & -x only the last one bit is left.
    lowest = values & (~values + values.dtype.type(1))
    return np.where(values == 0, 8 * values.itemsize, _bit_length(lowest) - 1)


def ones(values: npt.NDArray[Any]) -> int:
    """Return the number of one bits in all unsigned integers together, ``(n,)``."""
    if hasattr(np, "bitwise_count"):  # since numpy 2
        return int(np.bitwise_count(values).sum(dtype=np.int64))
    return int(_ones_of_bytes()[values.view(np.uint8)].sum(dtype=np.int64))


def _bit_length(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the place of the highest one bit, counted from 1; 0 for 0."""
    if values.itemsize <= 4:
        # float64 holds 32 bits exactly; its exponent is the length.
        return np.frexp(values.astype(np.float64))[1].astype(np.int64)
    high, low = values >> np.uint64(32), values & np.uint64(0xFFFFFFFF)
    return np.where(
        high > 0, 32 + _bit_length(high.astype(np.uint32)), _bit_length(low.astype(np.uint32))
    )


def _mean(histogram: tuple[int, ...]) -> float:
    total = sum(histogram)
    weighted = sum(zeros * count for zeros, count in enumerate(histogram))
    return weighted / total if total else float(len(histogram) - 1)


@functools.cache
def _ones_of_bytes() -> npt.NDArray[np.uint8]:
    """Return the number of one bits in each byte, ``(256,)``."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
    return np.asarray(bits.sum(axis=1), np.uint8)
