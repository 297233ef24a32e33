"""How much of a file is in the page cache, asked of the kernel with mincore(2)."""

from __future__ import annotations

import ctypes
import mmap
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from prevent_caching.errors import ResidencyUnknownError, require_linux

# mincore fills one byte a page: a window of 1 GiB keeps that vector at 256 KiB for any file.
WINDOW_BYTES = 1 << 30
_MAP_FAILED = ctypes.c_void_p(-1).value


@dataclass(frozen=True)
class Residency:
    """Pages of a file (or of a part of it) and how many of them are in the page cache."""

    pages: int
    resident: int

    @property
    def fraction(self) -> float:
        """Resident share, 0.0 to 1.0; a file without pages counts as not resident."""
        return self.resident / self.pages if self.pages else 0.0


def resident_fraction(path: Path) -> float:
    """Return the share of the file's pages that are in the page cache, 0.0 to 1.0.

    Reads no page of the file, so asking does not change the answer. An empty file gives 0.0.

    Raises:
        ResidencyUnknownError: not a regular file, or one the kernel hides from this process.
        UnsupportedPlatformError: elsewhere than on Linux.
    """
    return residency(path).fraction


def residency(path: Path, offset: int = 0, length: int | None = None) -> Residency:
    """Return the residency of the pages that hold `length` bytes from `offset` (default: all).

    Raises:
        ResidencyUnknownError: not a regular file, or one the kernel hides from this process.
        UnsupportedPlatformError: elsewhere than on Linux.
    """
    require_linux("mincore")
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        _require_visible(path, status)
        end = status.st_size if length is None else min(offset + length, status.st_size)
        pages = resident = 0
        for start, size in _windows(offset, end):
            vector = _mincore(descriptor, start, size)
            pages += len(vector)
            # Only the lowest bit is defined; today's kernels leave the others zero.
            resident += len(vector) - vector.count(0)
        return Residency(pages, resident)
    finally:
        os.close(descriptor)


def _require_visible(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ResidencyUnknownError(f"{path} is not a regular file: only files have cached pages")
    # Since Linux 5.2 mincore reports every page as resident to those who may neither write the
    # file nor own it (CVE-2019-5489): an answer that looks valid and is not.
    if os.geteuid() not in (0, status.st_uid) and not os.access(path, os.W_OK):
        raise ResidencyUnknownError(
            f"the kernel hides the cached pages of {path} from user {os.geteuid()}, who neither "
            "owns nor may write it: run as the owner or make it writable"
        )


def _windows(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield (offset, bytes) of page-aligned windows that cover start to end."""
    position = start - start % mmap.PAGESIZE
    while position < end:
        size = min(WINDOW_BYTES, end - position)
        yield position, size
        position += size


def _mincore(descriptor: int, offset: int, size: int) -> bytes:
    """Return one byte a page for `size` bytes from the page-aligned `offset`."""
    libc = _libc()
    address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, offset)
    if address == _MAP_FAILED:
        raise _unknown("mmap")
    try:
        vector = ctypes.create_string_buffer(-(-size // mmap.PAGESIZE))
        if libc.mincore(address, size, vector) != 0:
            raise _unknown("mincore")
        return vector.raw
    finally:
        libc.munmap(address, size)


def _unknown(call: str) -> ResidencyUnknownError:
    return ResidencyUnknownError(f"{call} failed: {os.strerror(ctypes.get_errno())}")


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_ssize_t,
    ]
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    return libc
