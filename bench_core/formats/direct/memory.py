"""Memory of tensors: fresh pages, parts of a buffer as tensors, and which memory is plain."""

from __future__ import annotations

import ctypes
import math
import mmap
from typing import Final

import torch

from bench_core.formats.base import TensorSpec

HUGE_BYTES: Final = 2 << 20


class Pages:
    """Anonymous memory, untouched, that starts at a huge page if it is that large.

    Huge pages make the first touch cheap: a cold read into fresh memory is then as fast as one
    into memory in use (2.9 against 2.2 GB/s with small pages, Linux 6.18, virtual machine). The
    last part of a huge page stays small pages, so nothing is committed beyond ``nbytes``.
    """

    def __init__(self, nbytes: int) -> None:
        huge = nbytes // HUGE_BYTES * HUGE_BYTES
        # Private, as every tensor is: pages shared with a forked child would show its changes.
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self._map = mmap.mmap(-1, max(nbytes, 1) + (HUGE_BYTES if huge else 0), flags=flags)
        start = torch.frombuffer(self._map, dtype=torch.uint8).data_ptr()
        self._skipped = -start % HUGE_BYTES if huge else 0
        self.address = start + self._skipped
        advice = getattr(mmap, "MADV_HUGEPAGE", None)
        if huge and advice is not None:
            self._map.madvise(advice, self._skipped, huge)

    def tensor(self, position: int, spec: TensorSpec) -> torch.Tensor:
        """Return the bytes from ``position`` as a tensor, which keeps the pages alive."""
        return view(self._map, self._skipped + position, spec)


def empty(spec: TensorSpec) -> torch.Tensor:
    """Return a tensor without elements; beside the zero its lengths may be any 64 bits hold."""
    return torch.empty(0, dtype=spec.dtype).reshape(spec.shape)


def view(
    buffer: mmap.mmap | ctypes.Array[ctypes.c_char], offset: int, spec: TensorSpec
) -> torch.Tensor:
    """Return part of a buffer as a tensor with a storage of its own, of just that part.

    A part that is not aligned for its type is copied.
    """
    count = math.prod(spec.shape)
    if count == 0:
        return empty(spec)
    if offset % spec.dtype.itemsize:
        part = torch.frombuffer(buffer, dtype=torch.uint8, count=spec.nbytes, offset=offset)
        return part.clone().view(spec.dtype).view(spec.shape)
    return torch.frombuffer(buffer, dtype=spec.dtype, count=count, offset=offset).view(spec.shape)


def is_plain(tensor: torch.Tensor) -> bool:
    """Return whether a tensor's values lie in order in this process's memory."""
    return (
        tensor.device.type == "cpu"
        and tensor.layout is torch.strided
        and tensor.is_contiguous()
        and not tensor.is_conj()
        and not tensor.is_neg()
    )
