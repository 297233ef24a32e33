"""Memory for the probes: page-aligned, touched or never touched, filled with random bytes.

Memory is given back when the last view of it is gone.
"""

from __future__ import annotations

import ctypes
import enum
import mmap
from contextlib import suppress
from functools import cache
from typing import Final

import numpy as np

FILL_CHUNK_WORDS: Final = 1 << 17
# <asm-generic/mman-common.h>, since Linux 5.14; the mmap module has no name for it.
_MADV_POPULATE_WRITE: Final = 23


class Fresh(str, enum.Enum):
    """A way to get memory that no one has touched, and when its pages are made."""

    PLAIN = "plain"
    """Pages are made by the first access, 4 KiB each."""
    HUGE = "huge"
    """The same with MADV_HUGEPAGE, 2 MiB each where the kernel has them."""
    POPULATED = "populated"
    """All pages are made by the mmap call."""
    BY_BLOCK = "by_block"
    """MADV_POPULATE_WRITE on each block right before it is used, by the thread that uses it."""
    HUGE_BY_BLOCK = "huge_by_block"
    """The same with MADV_HUGEPAGE."""

    @property
    def is_huge(self) -> bool:
        """Whether the kernel is asked for huge pages."""
        return self in (Fresh.HUGE, Fresh.HUGE_BY_BLOCK)

    @property
    def is_by_block(self) -> bool:
        """Whether `populate` is to be called on each block."""
        return self in (Fresh.BY_BLOCK, Fresh.HUGE_BY_BLOCK)


def touched(size: int, seed: int = 0, *, huge: bool = True) -> memoryview:
    """Return ``size`` bytes of page-aligned memory whose pages exist and hold random bytes.

    Huge pages by default: a direct request into scattered 4 KiB pages is cut into more and smaller
    ones by the block layer (``max_segments``), which can cost half of a disk's bandwidth.
    """
    view = fresh(size, Fresh.HUGE if huge else Fresh.PLAIN)
    fill_random(view, seed)
    return view


def fresh(size: int, way: Fresh) -> memoryview:
    """Return ``size`` bytes of page-aligned memory that was never touched (but see `Fresh`)."""
    # Plain memory where the platform does not know the way.
    if way is Fresh.POPULATED and hasattr(mmap, "MAP_POPULATE"):
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
        return memoryview(mmap.mmap(-1, size, flags=flags))
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if way.is_huge and hasattr(mmap, "MADV_HUGEPAGE"):
        # A kernel built without them says so by EINVAL.
        with suppress(OSError):
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(memory)


def fill_random(view: memoryview, seed: int) -> None:
    """Fill memory with seeded random bytes, which neither compress nor repeat."""
    words = np.frombuffer(view, dtype=np.uint64, count=len(view) // 8)
    generator = np.random.Generator(np.random.SFC64(seed))
    for start in range(0, len(words), FILL_CHUNK_WORDS):
        part = words[start : start + FILL_CHUNK_WORDS]
        part[:] = generator.integers(0, 2**64, size=len(part), dtype=np.uint64)


def populate(view: memoryview) -> None:
    """Make the pages of a block (of never touched memory) now, as one call to the kernel."""
    size = len(view)
    if _libc().madvise(address(view), size, _MADV_POPULATE_WRITE) != 0:
        # A kernel without it: one write into each page does the same, page by page.
        np.frombuffer(view, dtype=np.uint8)[:: mmap.PAGESIZE] = 0


def address(view: memoryview) -> int:
    """Return the address of a writable buffer's first byte."""
    return ctypes.addressof(ctypes.c_char.from_buffer(view))


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return libc
