"""What the kernel counted beside the clock: bytes moved, page faults, CPU time, peak memory.

Bytes, faults and CPU time cover this process, its threads and the children it has waited for.
What a platform does not count is left out, never zero.
"""

from __future__ import annotations

import functools
import os
import sys
from dataclasses import dataclass
from typing import Final

KIBIBYTE: Final = 1024
LONGEST_PROC_FILE: Final = 8192


@dataclass(frozen=True)
class Counters:
    """Readings at one moment; None where the platform does not count the quantity."""

    rchar: int | None = None
    """Bytes asked for by read calls, cached or not (not by faults on a map)."""
    wchar: int | None = None
    """Bytes handed to write calls."""
    read_bytes: int | None = None
    """Bytes fetched from block devices."""
    write_bytes: int | None = None
    """Bytes sent, or to be sent later, to block devices."""
    minor_faults: int | None = None
    major_faults: int | None = None
    user_seconds: float | None = None
    system_seconds: float | None = None
    rss_bytes: int | None = None
    """Resident memory now."""
    peak_rss_bytes: int | None = None
    """Largest resident memory since the process began or `reset_peaks` was called."""
    cuda_max_allocated_bytes: int | None = None
    """Peak of torch's allocator on the current CUDA device, since `reset_peaks`."""


_PEAKS: Final = ("peak_rss_bytes", "cuda_max_allocated_bytes")
_SUMS: Final = (
    "rchar",
    "wchar",
    "read_bytes",
    "write_bytes",
    "minor_faults",
    "major_faults",
    "user_seconds",
    "system_seconds",
)


def snapshot(*, peaks: bool = True) -> Counters:
    """Read all counters now; about 12 µs on Linux, half of it for the peak of resident memory.

    A snapshot before a sample needs no ``peaks``: `difference` takes those of the one after it.
    """
    io = _io()
    memory = _memory() if peaks else (_resident(), None)
    usage = _usage()
    return Counters(*io, *usage, *memory, _cuda_peak())


def difference(before: Counters, after: Counters) -> dict[str, float]:
    """Return what was counted between two snapshots; peaks are those of ``after``.

    ``peak_rss_growth_bytes`` is how far the peak rose above the memory resident at ``before``. A
    peak belongs to the interval only if `reset_peaks` was called, and returned True, before it.
    """
    counted: dict[str, float] = {}
    for name in _SUMS:
        first, last = getattr(before, name), getattr(after, name)
        if first is not None and last is not None:
            counted[name] = last - first
    for name in _PEAKS:
        if getattr(after, name) is not None:
            counted[name] = getattr(after, name)
    if before.rss_bytes is not None and after.peak_rss_bytes is not None:
        counted["peak_rss_growth_bytes"] = max(0, after.peak_rss_bytes - before.rss_bytes)
    return counted


def reset_peaks() -> bool:
    """Start the peaks of memory anew; return whether the kernel allowed it for the resident set.

    Linux resets VmHWM when ``5`` is written to ``/proc/self/clear_refs`` (proc(5)).
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
    descriptor = _proc_file("clear_refs", os.getpid(), os.O_WRONLY)
    if descriptor is None:
        return False
    try:
        os.write(descriptor, b"5")
    except OSError:
        return False
    return True


@functools.cache
def _proc_file(name: str, pid: int, flags: int = os.O_RDONLY) -> int | None:
    """Open ``/proc/<pid>/<name>`` once: reading an open file costs a quarter of opening it anew.

    The process id is in the key because a forked child inherits its parent's descriptors.
    """
    try:
        return os.open(f"/proc/{pid}/{name}", flags)
    except OSError:
        return None


def _read_proc(name: str) -> bytes | None:
    descriptor = _proc_file(name, os.getpid())
    if descriptor is None:
        return None
    try:
        return os.pread(descriptor, LONGEST_PROC_FILE, 0)
    except OSError:
        return None


def _io() -> tuple[int | None, int | None, int | None, int | None]:
    data = _read_proc("io")
    if data is None:
        return None, None, None, None
    # "rchar: 1\nwchar: 2\nsyscr: 3\nsyscw: 4\nread_bytes: 5\nwrite_bytes: 6\n…" (proc(5))
    words = data.split()
    return int(words[1]), int(words[3]), int(words[9]), int(words[11])


def _usage() -> tuple[int | None, int | None, float | None, float | None]:
    try:
        import resource
    except ImportError:  # Windows
        return None, None, None, None
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (
        own.ru_minflt + children.ru_minflt,
        own.ru_majflt + children.ru_majflt,
        own.ru_utime + children.ru_utime,
        own.ru_stime + children.ru_stime,
    )


def _memory() -> tuple[int | None, int | None]:
    """Return the resident set and its peak, in bytes."""
    data = _read_proc("status")
    if data is None:
        return None, _peak_from_rusage()
    return _status_bytes(data, b"VmRSS:"), _status_bytes(data, b"VmHWM:")


def _resident() -> int | None:
    """Return the resident set in bytes, read in a fifth of the time that `_memory` takes."""
    data = _read_proc("statm")
    return None if data is None else int(data.split(None, 2)[1]) * os.sysconf("SC_PAGE_SIZE")


def _status_bytes(data: bytes, key: bytes) -> int | None:
    at = data.find(key)
    if at < 0:
        return None
    return int(data[at + len(key) :].split(None, 1)[0]) * KIBIBYTE


def _peak_from_rusage() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes, the other systems KiB (getrusage(2)).
    return peak if sys.platform == "darwin" else peak * KIBIBYTE


def _cuda_peak() -> int | None:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    # The nested form: flattening the allocator's statistics costs ten times as much.
    allocated = torch.cuda.memory_stats_as_nested_dict().get("allocated_bytes", {})
    return int(allocated.get("all", {}).get("peak", 0))
