"""Evict one file from the page cache with posix_fadvise(2), and say why pages stay."""

from __future__ import annotations

import os
import time
from pathlib import Path

from prevent_caching.errors import EvictionRefused, require_linux
from prevent_caching.file_system import kind
from prevent_caching.residency import resident_fraction

# What survives a call may go a little later: a page in another CPU's batch of recent pages, or one
# that read-ahead is still filling. Seconds before each further attempt, a quarter of one in all.
_PAUSES = tuple(0.001 * 2**attempt for attempt in range(8))


def evict(path: Path) -> float:
    """Write the file's dirty pages to its device, drop its pages, return the share still resident.

    Needs no privilege and touches no other file. Only the file's data: its inode and extents stay
    in memory, and nothing below this kernel (a hypervisor's or an array's cache) is reached.
    Pages that a process has mapped and touched stay too, after a quarter of a second of attempts;
    `why_resident` names it.

    Returns:
        The resident share afterwards, 0.0 to 1.0, as mincore tells it.

    Raises:
        EvictionRefused: the file system keeps its files in memory or caches them elsewhere.
        ResidencyUnknownError: not a regular file, or the kernel hides its pages from this process.
        UnsupportedPlatformError: elsewhere than on Linux.
    """
    require_linux("posix_fadvise")
    found = kind(path)
    if not found.has_page_cache_drop:
        raise EvictionRefused(f"{path} cannot be evicted: {found.reason}")
    _drop_pages(path)
    for pause in _PAUSES:
        if resident_fraction(path) == 0.0:
            return 0.0
        time.sleep(pause)
        _drop_pages(path)
    return resident_fraction(path)


def why_resident(path: Path) -> str:
    """Return one line that says what keeps pages of `path` in memory."""
    mappers = [str(pid) for pid in _processes_that_map(path)]
    if mappers:
        return f"{path} is mapped by process {', '.join(mappers)}: unmap or end it"
    found = kind(path)
    if not found.has_page_cache_drop:
        return found.reason
    return (
        f"no process visible here maps {path}: another one reads or writes it, or maps it from "
        "outside this PID namespace"
    )


def _drop_pages(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # DONTNEED passes over dirty pages without a word.
        os.fdatasync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _processes_that_map(path: Path) -> list[int]:
    """Return the visible processes whose memory maps hold the file, by inode and name."""
    inode, name = str(path.stat().st_ino), str(path.resolve())
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _maps(entry / "maps", inode, name):
            found.append(int(entry.name))
    return sorted(found)


def _maps(maps: Path, inode: str, name: str) -> bool:
    try:
        lines = maps.read_text(errors="surrogateescape").splitlines()
    except OSError:
        # Ended meanwhile, or another user's.
        return False
    fields = (line.split(maxsplit=5) for line in lines)
    return any(len(f) == 6 and f[4] == inode and f[5] == name for f in fields)
