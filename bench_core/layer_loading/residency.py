"""How much of what will be read is in the page cache already: mincore(2), on a sample."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Final

from bench_core.formats.direct.open_file import OpenFile
from bench_core.layer_loading.mapped import FileMapping

_WINDOWS: Final = 16
_WINDOW_BYTES: Final = 64 << 10
"""That much is looked at in that many places: asking for every page would take 3 % of the read."""


def resident_fraction(file: OpenFile, ranges: Iterable[tuple[int, int]]) -> float:
    """Return the share of the pages of ``ranges`` that are in the page cache, 0.0 to 1.0.

    Reads nothing. Of more than 1 MiB, or of many small ranges, a sample is looked at, spread
    evenly. Where the kernel does not say (no Linux, a file of another user, one that cannot be
    mapped) the answer is 1.0.

    Args:
        file: one that is not empty.
        ranges: (begin, end) positions in the file.
    """
    mincore = _mincore()
    if mincore is None:
        return 1.0
    try:
        mapping = FileMapping(file, is_writable=False)
    except OSError:
        return 1.0
    vector = ctypes.create_string_buffer(_WINDOW_BYTES // mmap.PAGESIZE + 1)
    pages = resident = 0
    for begin, end in _sample(list(ranges)):
        first = begin - begin % mmap.PAGESIZE
        count = -(-(end - first) // mmap.PAGESIZE)
        if mincore(mapping.address + first, end - first, vector) != 0:
            return 1.0
        pages += count
        resident += count - vector.raw.count(0, 0, count)
    return resident / pages if pages else 1.0


def _sample(ranges: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield at most about `_WINDOWS` parts of the ranges, at equal distances."""
    step = max(mmap.PAGESIZE, -(-sum(end - begin for begin, end in ranges) // _WINDOWS))
    length = min(step, _WINDOW_BYTES)
    ahead = 0
    for begin, end in ranges:
        for position in range(begin + ahead, end, step):
            yield position, min(position + length, end)
        ahead = (ahead - (end - begin)) % step


@cache
def _mincore() -> Callable[..., int] | None:
    call: Callable[..., int] | None = getattr(ctypes.CDLL(None), "mincore", None)
    if call is not None:
        call.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]  # type: ignore[attr-defined]
    return call
