"""The arena: bounded, aligned memory that direct requests bounce through, kept between calls.

It has `CHUNKS` chunks of `CHUNK_BYTES`: 16 MiB at most, however many threads read and write. A
chunk is touched before its first use and then stays: fresh pages can cost more than the transfer.
`bench_core.formats.direct.release_arenas` gives all of it back.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from bench_core.formats.direct import raw_io, workers
from bench_core.formats.direct.memory import Pages
from bench_core.formats.direct.per_process import PerProcess

CHUNK_BYTES: Final = 2 << 20
"""One request. Smaller ones cost bandwidth; larger ones fall out of the processor's cache."""

CHUNKS: Final = workers.DEPTH

ARENA_BYTES: Final = CHUNKS * CHUNK_BYTES


class Arena:
    """Chunks of aligned memory that are lent out, last returned first."""

    def __init__(self) -> None:
        self._pages = Pages(ARENA_BYTES)
        self._free = [self._pages.address + i * CHUNK_BYTES for i in reversed(range(CHUNKS))]
        self._untouched = set(self._free)
        self._returned = threading.Condition()

    @property
    def committed(self) -> int:
        """Bytes that were touched and are held."""
        return ARENA_BYTES - len(self._untouched) * CHUNK_BYTES

    @property
    def idle(self) -> int:
        """Number of chunks that are not lent out."""
        return len(self._free)

    @contextmanager
    def chunk(self) -> Iterator[int]:
        """Lend a chunk, by its address; waits while all are lent."""
        with self._returned:
            while not self._free:
                self._returned.wait()
            address = self._free.pop()
        try:
            if address in self._untouched:
                self._untouched.discard(address)
                raw_io.fill(address, 0, CHUNK_BYTES)
            yield address
        finally:
            with self._returned:
                self._free.append(address)
                self._returned.notify()


_arena = PerProcess(Arena)


def current() -> Arena:
    """Return this process's arena."""
    return _arena.get()


def held_bytes() -> int:
    """Return the bytes that the arena holds now."""
    arena = _arena.peek()
    return 0 if arena is None else arena.committed


def release() -> None:
    """Give back the arena's memory; the next use makes a new one.

    Safe at any time: calls in flight keep what they use until they return.
    """
    _arena.release()
