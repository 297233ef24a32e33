"""Where what was read came from, storage or the page cache, as the kernel counts it by thread."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from bench_core.formats.direct import workers
from bench_core.model_search.meter import Meter

_LONGEST: Final = 512
"""Bytes of a thread's counters as text, generously."""


class Tiers:
    """Counts what one thread reads, with those that help it.

    By thread and not by process: images may be read beside, by others. Some 6 µs a reading, and 6
    for each helper once there are any. What the kernel reads ahead counts for who made it do so.
    """

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._fetched: int | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look at what is read inside, by the calling thread."""
        before = _fetched()
        yield
        after = _fetched()
        # A helper that was not there before has begun at zero.
        grown = [count - before.get(thread, 0) for thread, count in after.items()]
        self._fetched = sum(grown) if after else None

    def count(self, nbytes: int) -> None:
        """Count so many bytes that were asked for as loaded, by where they came from.

        More is fetched than is asked for: headers, whole pages, what was read ahead.
        """
        self._meter.count("bytes_loaded", nbytes)
        if self._fetched is not None:
            from_storage = min(self._fetched, nbytes)
            self._meter.count("bytes_from_storage", from_storage)
            self._meter.count("bytes_from_page_cache", nbytes - from_storage)


def _fetched() -> dict[int, int]:
    """Return the bytes fetched from devices so far, by thread; none where the system is silent."""
    threads = [threading.get_native_id(), *workers.thread_ids()]
    found = {thread: _read_bytes(thread) for thread in threads}
    return {thread: count for thread, count in found.items() if count is not None}


def _read_bytes(thread: int) -> int | None:
    """Return the kernel's ``read_bytes`` of a thread of this process: proc_pid_io(5)."""
    try:
        descriptor = os.open(f"/proc/self/task/{thread}/io", os.O_RDONLY)
    except OSError:
        return None
    try:
        text = os.read(descriptor, _LONGEST)
    except OSError:
        return None  # the thread has just ended
    finally:
        os.close(descriptor)
    lines = dict(line.split(b": ") for line in text.splitlines())
    return int(lines[b"read_bytes"])
