"""What the disk can do: the probe's own direct I/O over block sizes and queue depths."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from harness.limits import aio, buffers
from harness.limits.crew import together
from harness.limits.model import Reading
from harness.limits.scratch import (
    MIB,
    Point,
    ScratchFile,
    explained,
    move,
    open_direct_unnamed,
    open_unnamed,
)

SECTOR: Final = 4096
RANDOM_OFFSETS: Final = 1 << 17


BUFFERED_BLOCK: Final = 8 * MIB
FULL_GRID: Final = tuple(
    Point(block * MIB, depth) for block in (1, 4, 8, 16) for depth in (1, 4, 8, 16, 32)
)
QUICK_GRID: Final = tuple(Point(block * MIB, depth) for block in (1, 8) for depth in (1, 4, 16))


def sequential_read(file: ScratchFile, arena: memoryview, point: Point, seconds: float) -> Reading:
    """Read the file in order, round and round, for about ``seconds``."""
    offsets = _until(seconds, itertools.cycle(range(0, file.size, point.block)))
    return _reading(move(os.preadv, file.descriptor, arena, point, offsets).rate, point)


def sequential_write(file: ScratchFile, arena: memoryview, point: Point, seconds: float) -> Reading:
    """Overwrite the file in order, round and round, for about ``seconds``; the fsync counts."""
    offsets = _until(seconds, itertools.cycle(range(0, file.size, point.block)))
    begin = time.perf_counter_ns()
    written = move(os.pwritev, file.descriptor, arena, point, offsets).amount
    os.fsync(file.descriptor)
    return _reading(written / _since(begin), point)


def write_new(directory: Path, arena: memoryview, point: Point, size: int) -> Reading:
    """Create, preallocate, write and fsync a file of ``size`` bytes, all of it timed."""
    with explained(directory, size):
        begin = time.perf_counter_ns()
        descriptor = open_direct_unnamed(directory)
        try:
            os.posix_fallocate(descriptor, 0, size)
            move(os.pwritev, descriptor, arena, point, iter(range(0, size, point.block)))
            os.fsync(descriptor)
            return _reading(size / _since(begin), point)
        finally:
            os.close(descriptor)


def read_into_fresh(file: ScratchFile, way: buffers.Fresh, point: Point, size: int) -> Reading:
    """Read the first ``size`` bytes into never-touched memory; getting the memory counts."""
    offsets = iter(range(0, size, point.block))
    begin = time.perf_counter_ns()
    memory = buffers.fresh(size, way)

    def work(index: int) -> int:
        moved = 0
        for offset in offsets:
            block = memory[offset : offset + point.block]
            if way.is_by_block:
                buffers.populate(block)
            moved += os.preadv(file.descriptor, [block], offset)
        return moved

    moved = together(point.depth, work).amount
    return {**_reading(moved / _since(begin), point), "way": way.value}


def random_read(file: ScratchFile, depth: int, seconds: float, seed: int) -> Reading:
    """Read 4 KiB at random aligned offsets, ``depth`` at a time; the value is IOPS.

    By the kernel's asynchronous I/O, or by threads where that is not allowed.
    """
    arena = buffers.touched(depth * SECTOR)
    point = Point(SECTOR, depth)
    generator = np.random.default_rng(seed)
    offsets = generator.integers(file.size // SECTOR, size=RANDOM_OFFSETS) * SECTOR
    endless = itertools.cycle(offsets.tolist())
    if depth > 1:
        try:
            effort = aio.read_blocks(file.descriptor, arena, SECTOR, depth, endless, seconds)
        except OSError:
            pass
        else:
            return {**_reading(effort.rate, point), "engine": "aio"}
    moved = move(os.preadv, file.descriptor, arena, point, _until(seconds, endless))
    return {**_reading(moved.rate / SECTOR, point), "engine": "threads"}


def buffered_write(directory: Path, size: int) -> Reading:
    """Write a new file through the page cache and fsync it, all of it timed."""
    block = buffers.touched(BUFFERED_BLOCK)
    with explained(directory, size):
        begin = time.perf_counter_ns()
        descriptor = open_unnamed(directory, 0)
        try:
            for offset in range(0, size, BUFFERED_BLOCK):
                os.pwrite(descriptor, block, offset)
            os.fsync(descriptor)
            return _reading(size / _since(begin), Point(BUFFERED_BLOCK, 1))
        finally:
            os.close(descriptor)


def fsync_appends(directory: Path, count: int) -> list[Reading]:
    """Append 4 KiB and fsync, ``count`` times; each value is seconds."""
    block = buffers.touched(SECTOR)
    readings: list[Reading] = []
    with explained(directory, count * SECTOR):
        descriptor = open_unnamed(directory, os.O_APPEND)
        try:
            for _ in range(count):
                begin = time.perf_counter_ns()
                os.write(descriptor, block)
                os.fsync(descriptor)
                readings.append({"value": _since(begin)})
        finally:
            os.close(descriptor)
    return readings


def _until(seconds: float, offsets: Iterator[int]) -> Iterator[int]:
    """Return the offsets that are taken within ``seconds`` from now."""
    deadline = time.perf_counter_ns() + int(seconds * 1e9)
    return itertools.takewhile(lambda _: time.perf_counter_ns() < deadline, offsets)


def _since(begin_ns: int) -> float:
    return (time.perf_counter_ns() - begin_ns) * 1e-9


def _reading(value: float, point: Point) -> Reading:
    return {"value": value, "block": point.block, "depth": point.depth}
