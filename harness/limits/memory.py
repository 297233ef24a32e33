"""What the memory and the cores can do: copies, digests and the matrix product."""

from __future__ import annotations

import ctypes
import hashlib
import os
import time
from functools import cache
from typing import Final

from harness.limits import buffers
from harness.limits.crew import together
from harness.limits.model import Reading

FRESH_PIECE: Final = 2 << 20
"""New pages are made and filled in pieces of this size (one huge page), still in the caches."""


def memcpy(target: memoryview, source: memoryview, threads: int) -> Reading:
    """Copy ``source`` over ``target``, both touched, each thread its own equal part."""
    part = len(source) // threads
    to, frm = buffers.address(target), buffers.address(source)

    def work(index: int) -> int:
        return _copy(to + index * part, frm + index * part, part)

    return {"value": together(threads, work).rate, "threads": threads}


def memcpy_into_fresh(source: memoryview, way: buffers.Fresh) -> Reading:
    """Copy ``source`` into memory that was never touched; getting the memory counts."""
    begin = time.perf_counter_ns()
    target = buffers.fresh(len(source), way)
    to, frm = buffers.address(target), buffers.address(source)
    for offset in range(0, len(source), FRESH_PIECE):
        size = min(FRESH_PIECE, len(source) - offset)
        if way.is_by_block:
            buffers.populate(target[offset : offset + size])
        _copy(to + offset, frm + offset, size)
    seconds = (time.perf_counter_ns() - begin) * 1e-9
    return {"value": len(source) / seconds, "way": way.value}


def digest_blake2b(source: memoryview) -> Reading:
    """Digest memory with hashlib's blake2b, one thread."""
    begin = time.perf_counter_ns()
    hashlib.blake2b(source, digest_size=16).digest()
    return {"value": len(source) / ((time.perf_counter_ns() - begin) * 1e-9)}


def matmul_flops(size: int, device: str = "cpu") -> Reading:
    """Multiply two square float32 matrices with torch's settings as they are: 2 size³ FLOP.

    Raises:
        ImportError: torch is not installed.
    """
    import torch

    from harness.clock import synchronize

    generator = torch.Generator(device).manual_seed(0)
    left = torch.rand((size, size), generator=generator, device=device)
    product = torch.empty_like(left)
    synchronize(device)
    begin = time.perf_counter_ns()
    torch.matmul(left, left, out=product)
    synchronize(device)
    seconds = (time.perf_counter_ns() - begin) * 1e-9
    return {"value": 2 * size**3 / seconds, "size": size}


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _copy(to: int, frm: int, size: int) -> int:
    """Copy with the C library's memcpy, which runs without the interpreter's lock."""
    _memcpy()(to, frm, size)
    return size


@cache
def _memcpy() -> ctypes._NamedFuncPointer:
    function = ctypes.CDLL(None).memcpy
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    function.restype = ctypes.c_void_p
    return function
