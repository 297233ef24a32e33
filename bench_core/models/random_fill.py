"""Random tensors: seeded by name, incompressible, finite, and made at memory speed."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from bench_core.errors import UnsupportedError

FILL_VERSION: Final = 1
"""Raised when the same seed gives other bytes than before; cached files are then remade."""

_CHUNK: Final = 2**20
"""Bytes of one job: small enough to stay in the processor's cache between the passes over it."""


@dataclass(frozen=True)
class TensorShape:
    """Shape and type of a tensor of a model."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class _FloatLayout:
    """Bits of a floating-point type, from the top: sign, exponent, mantissa."""

    exponent_bits: int
    mantissa_bits: int
    random_exponent_bits: int
    """How many of the exponent's lower bits are random: more is less compressible, and wider."""


# Five random exponent bits reach down to 2^-31: no product of two values is subnormal, which
# would make a forward pass crawl. Short types keep all but the top one: values lie below 2.
_LAYOUTS: Final = {
    torch.float64: _FloatLayout(11, 52, 5),
    torch.float32: _FloatLayout(8, 23, 5),
    torch.bfloat16: _FloatLayout(8, 7, 7),
    torch.float16: _FloatLayout(5, 10, 4),
    torch.float8_e5m2: _FloatLayout(5, 2, 4),
    torch.float8_e4m3fn: _FloatLayout(4, 3, 3),
}
_INTEGERS: Final = frozenset(
    {torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool}
)
# Mean square of a value whose exponent is uniform over [top - 31, top] is about 0.097 * 4^top.
_MEAN_SQUARE: Final = 0.097


def random_tensors(specs: Mapping[str, TensorShape], seed: int = 0) -> dict[str, torch.Tensor]:
    """Return a CPU tensor for each spec, filled with random values.

    A tensor's bytes depend on the seed, its name, dtype and shape only: not on the other
    tensors, their order, or the number of threads. Floats are finite; weights of two and more
    dimensions are scaled by their fan-in, and a ``running_var`` lies in [1, 2), so that a forward
    pass stays finite. Integers are random over their whole range.

    Raises:
        UnsupportedError: a dtype has no fill.
    """
    tensors = {name: torch.empty(spec.shape, dtype=spec.dtype) for name, spec in specs.items()}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [
            pool.submit(_fill, chunk, masks, f"{seed}/{name}/{i}")
            for name, tensor in tensors.items()
            for masks in [_masks(name, tensor)]
            for i, chunk in enumerate(_chunks(tensor))
        ]
        for job in jobs:
            job.result()
    return tensors


def _chunks(tensor: torch.Tensor) -> list[npt.NDArray[Any]]:
    """Return the tensor's memory as arrays of unsigned integers of its item size."""
    size = tensor.dtype.itemsize
    flat = tensor.view(-1).view(torch.uint8).numpy().view(f"u{size}")
    step = _CHUNK // size
    return [flat[start : start + step] for start in range(0, len(flat), step)]


def _fill(
    destination: npt.NDArray[Any], masks: tuple[np.unsignedinteger[Any], ...], key: str
) -> None:
    """Fill the array with ``(random bits & keep) + base``."""
    digest = hashlib.blake2b(key.encode(), digest_size=16).digest()
    source = np.random.SFC64(int.from_bytes(digest, "little"))
    words = source.random_raw(-(-destination.nbytes // 8)).view(destination.dtype)
    keep, base = masks
    np.bitwise_and(words[: len(destination)], keep, out=destination)
    if base:
        np.add(destination, base, out=destination)


def _masks(name: str, tensor: torch.Tensor) -> tuple[np.unsignedinteger[Any], ...]:
    """Return (bits kept from the random word, number added to them) for a tensor's type."""
    integer = np.dtype(f"u{tensor.dtype.itemsize}").type
    if tensor.dtype in _INTEGERS:
        everything = 2 ** (8 * tensor.dtype.itemsize) - 1
        return integer(1 if tensor.dtype == torch.bool else everything), integer(0)
    if tensor.dtype not in _LAYOUTS:
        raise UnsupportedError(f"{name}: no random fill for {tensor.dtype}")
    layout = _LAYOUTS[tensor.dtype]
    mantissa = 2**layout.mantissa_bits - 1
    bias = 2 ** (layout.exponent_bits - 1) - 1
    if name.endswith("running_var"):
        return integer(mantissa), integer(bias << layout.mantissa_bits)
    exponent = 2**layout.random_exponent_bits - 1
    sign = 2 ** (8 * tensor.dtype.itemsize - 1)
    lowest = max(0, bias + _top_exponent(tensor) - exponent)
    keep = sign | exponent << layout.mantissa_bits | mantissa
    return integer(keep), integer(lowest << layout.mantissa_bits)


def _top_exponent(tensor: torch.Tensor) -> int:
    """Return the exponent of the largest values, so that a layer keeps its input's variance."""
    if tensor.dim() < 2 or tensor.numel() == 0:
        return 0
    fan_in = tensor.numel() // tensor.shape[0]
    return min(0, math.floor(0.5 * math.log2(1 / (_MEAN_SQUARE * fan_in))))
