"""The page cache around one sample: bring files into a stated condition, and prove it.

Proof of cold has two halves: before the clock, mincore(2) says that no more than 1 % of the pages
is resident; after it, the kernel has counted at least 95 % of the needed bytes as read from a block
device. What cannot be proved is said to be unproved, with the reason.

The guest's page cache is all that can be seen and dropped here: below a virtual machine or a disk
array there are caches that this process neither sees nor empties.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from harness.errors import InputError, RefusedError

COLD_AT_MOST: Final = 0.01
WARM_AT_LEAST: Final = 0.99
READ_AT_LEAST: Final = 0.95
WARMING_CHUNK: Final = 8 << 20


class CacheState(str, enum.Enum):
    """What the page cache holds of a case's files when the clock starts."""

    DIRTY_WARM = "dirty_warm"
    """As just written: cached, perhaps not yet on the device."""
    WARM = "warm"
    """Read through."""
    COLD_FILE = "cold_file"
    """Synced and evicted, file by file; needs no privilege."""
    COLD_HOST = "cold_host"
    """The whole page cache dropped, by this process or by the host's watcher."""
    DIRECT = "direct"
    """The operation goes around the page cache (O_DIRECT), whatever it holds."""

    @property
    def is_cold(self) -> bool:
        """Whether the state asks for an empty page cache."""
        return self in (CacheState.COLD_FILE, CacheState.COLD_HOST)


@dataclass(frozen=True)
class CacheBefore:
    """The files' condition right before the clock starts."""

    state: CacheState
    file_bytes: int
    """Total size of the files."""
    resident: float | None
    """Resident share of all their pages, 0.0 to 1.0; None if there are none or it is unknown."""
    doubt: str | None = None
    """Why the state is not proved already now."""
    how: str | None = None
    """For ``cold_host``: who dropped the cache, ``direct`` (this process) or ``host``."""


@dataclass(frozen=True)
class CacheProof:
    """A sample's cache state, and whether it is proved."""

    state: CacheState
    resident_before: float | None
    read_bytes: int | None
    needed_bytes: int | None
    proved: bool
    reason: str | None = None
    """Why it is not proved."""
    how: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the proof as a record's ``cache``; what is None is left out."""
        content: dict[str, Any] = {
            "state": self.state.value,
            "proved": self.proved,
            "resident_before": self.resident_before,
            "read_bytes": self.read_bytes,
            "needed_bytes": self.needed_bytes,
            "reason": self.reason,
            "how": self.how,
        }
        return {name: value for name, value in content.items() if value is not None}


def parse_state(name: str) -> CacheState:
    """Return the state called ``name``.

    Raises:
        InputError: there is none; the text lists those that exist.
    """
    try:
        return CacheState(name)
    except ValueError:
        names = ", ".join(state.value for state in CacheState)
        raise InputError(f"unknown cache state {name!r}; choose one of {names}") from None


def prepare(files: Iterable[Path], state: CacheState | str) -> CacheBefore:
    """Bring the files into ``state`` and look at what is resident; the last thing before a sample.

    A folder stands for all regular files below it.

    Raises:
        RefusedError: the state means nothing here (a file system in memory or on the network, no
            permission to drop the cache, not Linux); the text says why.
        InputError: a file is missing, or the state does not exist.
    """
    state = parse_state(state) if isinstance(state, str) else state
    paths = tuple(_regular_files(files))
    how = None
    if state.is_cold or state is CacheState.DIRECT:
        _refuse_where_meaningless(paths, state)
    if state is CacheState.COLD_FILE:
        _evict(paths)
    elif state is CacheState.COLD_HOST:
        how = _drop_host_cache(paths)
    elif state is CacheState.WARM:
        for path in paths:
            _read_through(path)
    resident, doubt = _resident_fraction(paths)
    if doubt is None:
        doubt = _doubt_before(state, paths, resident)
    return CacheBefore(state, sum(path.stat().st_size for path in paths), resident, doubt, how)


def prove(before: CacheBefore, read_bytes: int | None, needed_bytes: int | None) -> CacheProof:
    """Judge a sample by its residency before and the device's bytes after.

    Args:
        before: what `prepare` returned for this sample.
        read_bytes: bytes read from block devices during the sample (`harness.counters`), if known.
        needed_bytes: bytes of the files that the operation had to fetch; None means all of them.
    """
    if needed_bytes is None and before.file_bytes:
        needed_bytes = before.file_bytes
    reason = before.doubt
    if reason is None and (before.state.is_cold or before.state is CacheState.DIRECT):
        reason = _doubt_after(read_bytes, needed_bytes)
    return CacheProof(
        state=before.state,
        resident_before=before.resident,
        read_bytes=read_bytes,
        needed_bytes=needed_bytes,
        proved=reason is None,
        reason=reason,
        how=before.how,
    )


def _doubt_before(state: CacheState, paths: Sequence[Path], resident: float | None) -> str | None:
    """Return why the residency contradicts the state, or None if it does not."""
    if state.is_cold:
        if not paths:
            return "the case names no files, so nothing can be proved cold"
        if resident is not None and resident > COLD_AT_MOST:
            return (
                f"{resident:.1%} of the pages is resident before the clock, at most "
                f"{COLD_AT_MOST:.0%} is allowed: {_why_resident(paths)}"
            )
    warm = state in (CacheState.WARM, CacheState.DIRTY_WARM)
    if warm and resident is not None and resident < WARM_AT_LEAST:
        return (
            f"{resident:.1%} of the pages is resident before the clock, at least "
            f"{WARM_AT_LEAST:.0%} is needed for {state.value}: memory is short, or the file was "
            "written around the page cache"
        )
    return None


def _doubt_after(read_bytes: int | None, needed_bytes: int | None) -> str | None:
    """Return why the bytes read do not prove that the device was read, or None if they do."""
    if not needed_bytes:
        return None
    if read_bytes is None:
        return "this platform does not count the bytes read from devices (/proc/self/io)"
    if read_bytes < READ_AT_LEAST * needed_bytes:
        return (
            f"{read_bytes} bytes came from the device, {READ_AT_LEAST:.0%} of the {needed_bytes} "
            "needed were expected: the rest came from a cache or was not read"
        )
    return None


def _regular_files(files: Iterable[Path]) -> Iterator[Path]:
    for path in files:
        if path.is_dir():
            yield from sorted(child for child in path.rglob("*") if child.is_file())
        elif path.is_file():
            yield path
        else:
            raise InputError(f"{path} does not exist or is no regular file; prepare makes it first")


def _refuse_where_meaningless(paths: Sequence[Path], state: CacheState) -> None:
    """Refuse memory and network file systems, looking once at each folder."""
    from prevent_caching.errors import PreventCachingError
    from prevent_caching.file_system import kind

    for folder in {path.parent for path in paths}:
        try:
            found = kind(folder)
        except PreventCachingError as error:
            raise RefusedError(f"cache state {state.value}: {error}") from error
        if not found.has_page_cache_drop:
            raise RefusedError(f"cache state {state.value} means nothing here: {found.reason}")


def _evict(paths: Sequence[Path]) -> None:
    from prevent_caching.errors import PreventCachingError
    from prevent_caching.eviction import evict

    for path in paths:
        try:
            evict(path)
        except PreventCachingError as error:
            raise RefusedError(f"the file cannot be made cold: {error}") from error


def _drop_host_cache(paths: Sequence[Path]) -> str:
    """Have the page cache dropped; return by whom (``direct``: this process, ``host``)."""
    from prevent_caching.client import request_drop
    from prevent_caching.errors import PreventCachingError

    try:
        result = request_drop()
    except PreventCachingError as error:
        raise RefusedError(f"cache state cold_host: {error}") from error
    if result.same_kernel is False:
        # The watcher dropped the caches of the machine below this one; ours are still full.
        _evict(paths)
    return result.how


def _read_through(path: Path) -> None:
    buffer = bytearray(min(WARMING_CHUNK, max(1, path.stat().st_size)))
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def _resident_fraction(paths: Sequence[Path]) -> tuple[float | None, str | None]:
    """Return the resident share over all pages, or None and why it is unknown."""
    from prevent_caching.errors import PreventCachingError
    from prevent_caching.residency import residency

    try:
        found = [residency(path) for path in paths]
    except PreventCachingError as error:
        return None, f"residency is unknown: {error}"
    pages = sum(item.pages for item in found)
    return (sum(item.resident for item in found) / pages if pages else None), None


def _why_resident(paths: Sequence[Path]) -> str:
    from prevent_caching.eviction import why_resident
    from prevent_caching.residency import resident_fraction

    return why_resident(max(paths, key=resident_fraction))
