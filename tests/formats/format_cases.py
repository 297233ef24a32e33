"""Tensors to write and read back, and how to compare them bit by bit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

DTYPES = (
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
)


def random_tensor(dtype: torch.dtype, shape: Sequence[int], seed: int = 0) -> torch.Tensor:
    """Return a tensor of random bytes: NaNs of all kinds included."""
    highest = 2 if dtype is torch.bool else 256
    count = math.prod(shape) * dtype.itemsize
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randint(0, highest, (count,), dtype=torch.uint8, generator=generator)
    return raw.view(dtype).reshape(tuple(shape))


def small_model(seed: int = 0) -> dict[str, torch.Tensor]:
    """Return some layers and one tensor of each type that every format stores."""
    tensors = {
        f"layer{i}.{part}": random_tensor(torch.float32, shape, seed + i)
        for i in range(3)
        for part, shape in (("weight", (16, 24)), ("bias", (24,)))
    }
    tensors["counter"] = random_tensor(torch.int64, (), seed)
    tensors["empty"] = random_tensor(torch.float32, (0, 3), seed)
    for dtype in DTYPES:
        tensors[f"as.{dtype}"] = random_tensor(dtype, (5, 7), seed + 1)
    return tensors


def large_model(seed: int, megabytes: int = 4) -> dict[str, torch.Tensor]:
    """Return tensors of 1 MiB that take a write some milliseconds."""
    return {
        f"layer{i}": random_tensor(torch.float32, (256, 1024), 1000 * seed + i)
        for i in range(megabytes)
    }


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Return whether two tensors have equal types, shapes and bytes (so NaN equals itself)."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    first, second = (tensor.detach().clone().flatten().view(torch.uint8) for tensor in (a, b))
    return torch.equal(first, second)


def assert_same(read: Mapping[str, torch.Tensor], written: Mapping[str, torch.Tensor]) -> None:
    assert set(read) == set(written)
    for name, tensor in written.items():
        assert same_bits(read[name], tensor), name
