"""Probe the machine: every limit once, or the bandwidths again between the rounds of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final

from harness.errors import RefusedError
from harness.limits import buffers, device, disk, memory
from harness.limits.disk import FULL_GRID, QUICK_GRID
from harness.limits.model import NAMES, Limits, Reading, best_reading, credited
from harness.limits.scratch import MIB, Point, ScratchFile

Measure = Callable[[], list[Reading]]
OnStep = Callable[[str], None]

DEEP: Final = 32
SHORT_GRID: Final = (Point(MIB, 16), Point(8 * MIB, 4))
"""For limits that depend little on how the disk is asked."""
DISK_NOTE: Final = "disk"
"""Key of the note that concerns all limits of the disk."""
REFRESHED: Final = (
    "sequential_read",
    "sequential_write",
    "sequential_write_new",
    "read_into_fresh",
    "memcpy_all_threads",
    "memcpy_fresh",
)
"""Bandwidths that neighbours move: those of the disk and of the memory."""
REFRESH_SECONDS: Final = 0.1
REFRESH_BYTES: Final = 128 * MIB


_SEQUENTIAL: Final = {
    "sequential_read": disk.sequential_read,
    "sequential_write": disk.sequential_write,
}


@dataclass(frozen=True)
class Plan:
    """How much work a probe does."""

    file_bytes: int
    grid: tuple[Point, ...]
    seconds: float
    """Of each reading of the disk."""
    repeats: int
    """Of each reading that has no grid, and of the grid's best point."""
    memory_bytes: int
    matmul_size: int
    fsyncs: int


QUICK: Final = Plan(256 * MIB, QUICK_GRID, 0.15, 3, 128 * MIB, 2048, 16)
"""Some 12 s; needs 512 MiB of disk and of memory."""
FULL: Final = Plan(1024 * MIB, FULL_GRID, 0.4, 4, 256 * MIB, 4096, 64)
"""About a minute; needs 2 GiB of disk and 1.5 GiB of memory."""


class LimitProbe:
    """Probes a machine and the disk behind one folder; a context manager.

    Keeps a scratch file without a name (256 MiB, or 1 GiB for a full probe) and its memory between
    calls, so that a run can look at disk and memory again in every round at little cost.

    Example:
        >>> with LimitProbe(folder) as limit_probe:  # doctest: +SKIP
        ...     begin = limit_probe.probe()
        ...     now = limit_probe.refresh(begin)
    """

    def __init__(self, directory: Path, *, quick: bool = True) -> None:
        self.directory = directory
        self.plan = QUICK if quick else FULL
        self._file: ScratchFile | None = None
        self._arena = memoryview(b"")
        self._copied = (memoryview(b""), memoryview(b""))

    def __enter__(self) -> LimitProbe:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back the scratch file and the memory."""
        self._free_memory()
        if self._file is not None:
            self._file.close()
            self._file = None

    def probe(self, on_step: OnStep | None = None) -> Limits:
        """Probe every limit.

        Args:
            on_step: called with a limit's name before it is probed, for progress.

        Raises:
            InputError: the folder cannot be written, or the disk is full.
        """
        readings: dict[str, tuple[Reading, ...]] = {}
        notes = _file_system_note(self.directory)
        for name, measure in self._steps():
            if on_step is not None:
                on_step(name)
            try:
                readings[name] = tuple(measure())
            except RefusedError as error:
                notes[name] = str(error)
        # A run that measures memory goes on with this process.
        self._free_memory()
        return Limits.from_readings(credited(readings), notes)

    def refresh(self, limits: Limits, seconds: float = REFRESH_SECONDS) -> Limits:
        """Probe the bandwidths in `REFRESHED` again, where and how each was best.

        Returns:
            Limits with these only (less those that ``limits`` lacks); `best` adds the others.
        """
        readings: dict[str, tuple[Reading, ...]] = {}
        for name in REFRESHED:
            known = best_reading(limits, name)
            if known is not None:
                readings[name] = (self._again(name, known, seconds),)
        return Limits.from_readings(readings, {})

    @property
    def file(self) -> ScratchFile:
        """The scratch file, made at the first use."""
        if self._file is None:
            self._file = ScratchFile(self.directory, self.plan.file_bytes)
        return self._file

    def sequential(self, name: str, point: Point, seconds: float) -> Reading:
        """Take one reading of ``sequential_read`` or ``sequential_write``."""
        return _SEQUENTIAL[name](self.file, self._arena_for(point), point, seconds)

    def _again(self, name: str, known: Reading, seconds: float) -> Reading:
        if name.startswith("memcpy"):
            return self._memory_again(known)
        point = Point(int(known["block"]), int(known["depth"]))
        if name == "read_into_fresh":
            way = buffers.Fresh(known["way"])
            return disk.read_into_fresh(self.file, way, point, REFRESH_BYTES)
        if name == "sequential_write_new":
            return disk.write_new(self.directory, self._arena_for(point), point, REFRESH_BYTES)
        return self.sequential(name, point, seconds)

    def _memory_again(self, known: Reading) -> Reading:
        source, target = self._two_buffers()
        if "way" in known:
            return memory.memcpy_into_fresh(source, buffers.Fresh(known["way"]))
        return memory.memcpy(target, source, int(known["threads"]))

    def _arena_for(self, point: Point) -> memoryview:
        """Return touched memory with a slice for each request in flight; it is kept."""
        size = point.block * point.depth
        if len(self._arena) < size:
            self._arena = buffers.touched(size)
        return self._arena

    def _two_buffers(self) -> tuple[memoryview, memoryview]:
        """Return two touched buffers to copy between; they are kept."""
        if not self._copied[0]:
            size = self.plan.memory_bytes
            self._copied = buffers.touched(size, seed=1), buffers.touched(size, seed=2)
        return self._copied

    def _free_memory(self) -> None:
        self._arena = memoryview(b"")
        self._copied = (memoryview(b""), memoryview(b""))

    def _steps(self) -> Iterator[tuple[str, Measure]]:
        """Yield each limit with the function that takes its readings, in the order of `NAMES`."""
        measures: dict[str, Measure] = {
            "sequential_read": partial(self._over_grid, "sequential_read"),
            "sequential_write": partial(self._over_grid, "sequential_write"),
            "sequential_write_new": self._write_new,
            "read_into_fresh": self._read_into_fresh,
            "buffered_write": self._buffered_write,
            "random_read_4k": partial(self._random_read, 1),
            "random_read_4k_deep": partial(self._random_read, DEEP),
            "fsync_seconds": self._fsync,
            "memcpy": partial(self._memcpy, 1),
            "memcpy_all_threads": partial(self._memcpy, memory.usable_cores()),
            "memcpy_fresh": self._memcpy_fresh,
            "matmul_flops": partial(self._matmul, "cpu"),
            "digest_blake2b": self._digest,
            "h2d_pinned": partial(self._device_copies, "h2d", pinned=True),
            "h2d_pageable": partial(self._device_copies, "h2d", pinned=False),
            "d2h_pinned": partial(self._device_copies, "d2h", pinned=True),
            "d2h_pageable": partial(self._device_copies, "d2h", pinned=False),
            "device_matmul_flops": partial(self._matmul, "cuda"),
        }
        for name in NAMES:
            yield name, measures[name]

    def _over_grid(self, name: str) -> list[Reading]:
        """Read each point of the grid once, the best one again, and that with small pages."""
        take = partial(self.sequential, name, seconds=self.plan.seconds)
        readings = [take(point) for point in self.plan.grid]
        winner = max(readings, key=lambda reading: float(reading["value"]))
        point = Point(int(winner["block"]), int(winner["depth"]))
        again = [take(point) for _ in range(self.plan.repeats)]
        small = buffers.touched(point.block * point.depth, huge=False)
        measure = _SEQUENTIAL[name]
        in_small_pages = measure(self.file, small, point, self.plan.seconds)
        return [*readings, *again, {**in_small_pages, "pages": "small"}]

    def _write_new(self) -> list[Reading]:
        size = self.plan.file_bytes
        return [
            disk.write_new(self.directory, self._arena_for(point), point, size)
            for _ in range(self.plan.repeats)
            for point in SHORT_GRID
        ]

    def _read_into_fresh(self) -> list[Reading]:
        size = self.plan.memory_bytes
        return [
            disk.read_into_fresh(self.file, way, point, size)
            for _ in range(self.plan.repeats)
            for way in buffers.Fresh
            for point in SHORT_GRID
        ]

    def _buffered_write(self) -> list[Reading]:
        size = self.plan.file_bytes
        return [disk.buffered_write(self.directory, size) for _ in range(self.plan.repeats)]

    def _random_read(self, depth: int) -> list[Reading]:
        return [
            disk.random_read(self.file, depth, self.plan.seconds, seed)
            for seed in range(self.plan.repeats)
        ]

    def _fsync(self) -> list[Reading]:
        return disk.fsync_appends(self.directory, self.plan.fsyncs)

    def _memcpy(self, threads: int) -> list[Reading]:
        source, target = self._two_buffers()
        return [memory.memcpy(target, source, threads) for _ in range(self.plan.repeats)]

    def _memcpy_fresh(self) -> list[Reading]:
        source, _ = self._two_buffers()
        return [
            memory.memcpy_into_fresh(source, way)
            for _ in range(self.plan.repeats)
            for way in buffers.Fresh
        ]

    def _digest(self) -> list[Reading]:
        source, _ = self._two_buffers()
        return [memory.digest_blake2b(source) for _ in range(self.plan.repeats)]

    def _matmul(self, on: str) -> list[Reading]:
        if on == "cuda":
            device.require_cuda()
        size = self.plan.matmul_size
        return [memory.matmul_flops(size, on) for _ in range(1 + self.plan.repeats)]

    def _device_copies(self, direction: device.Direction, *, pinned: bool) -> list[Reading]:
        device.require_cuda()
        return device.copies(direction, pinned=pinned, repeats=self.plan.repeats)


def probe(directory: Path, *, quick: bool, on_step: OnStep | None = None) -> Limits:
    """Probe the machine and the disk behind ``directory``; see `LimitProbe.probe`."""
    with LimitProbe(directory, quick=quick) as limit_probe:
        return limit_probe.probe(on_step)


def refresh(directory: Path, limits: Limits) -> Limits:
    """Probe the bandwidths again; see `LimitProbe.refresh`, which keeps its file."""
    with LimitProbe(directory) as limit_probe:
        return limit_probe.refresh(limits)


def _file_system_note(directory: Path) -> dict[str, str]:
    """Return a note on the disk's limits where the file system is not on a disk of this machine."""
    from prevent_caching.errors import PreventCachingError
    from prevent_caching.file_system import kind

    try:
        found = kind(directory)
    except PreventCachingError as error:
        return {DISK_NOTE: f"the file system of {directory} is unknown: {error}"}
    return {} if found.has_page_cache_drop else {DISK_NOTE: found.reason}
