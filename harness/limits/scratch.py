"""Files for the disk probes: without a name, opened for direct I/O, moved by several threads."""

from __future__ import annotations

import errno
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.errors import InputError, RefusedError
from harness.limits import buffers
from harness.limits.crew import Effort, together

MIB: Final = 1 << 20
VectorIO = Callable[[int, Sequence[memoryview], int], int]


@dataclass(frozen=True)
class Point:
    """How a file is moved: bytes a request, and requests in flight."""

    block: int
    depth: int


FILL: Final = Point(8 * MIB, 4)
"""One request at a time is slow on some disks."""


class ScratchFile:
    """A preallocated file of random bytes, opened with O_DIRECT; it has no name, so none is left.

    The name is removed as soon as the file is open: even a killed probe leaves nothing behind.
    """

    def __init__(self, directory: Path, size: int) -> None:
        """Make the file; ``size`` is a multiple of the largest block used on it.

        Raises:
            InputError: the folder is missing or read-only, or the disk is full.
            RefusedError: the platform or the file system has no direct I/O.
        """
        self.directory = directory
        self.size = size
        self.descriptor = open_direct_unnamed(directory)
        try:
            with explained(directory, size):
                os.posix_fallocate(self.descriptor, 0, size)
                self._fill()
        except BaseException:
            self.close()
            raise

    @property
    def path(self) -> Path:
        """A name under which this file can be opened anew while it is open (Linux)."""
        return Path(f"/proc/{os.getpid()}/fd/{self.descriptor}")

    def close(self) -> None:
        """Give the space back."""
        os.close(self.descriptor)

    def _fill(self) -> None:
        # Blocks that end where the file does.
        point = Point(math.gcd(FILL.block, self.size), FILL.depth)
        arena = buffers.touched(point.block * point.depth)
        move(os.pwritev, self.descriptor, arena, point, iter(range(0, self.size, point.block)))
        os.fsync(self.descriptor)


def open_direct_unnamed(directory: Path) -> int:
    """Open a new file without a name for direct I/O.

    Raises:
        RefusedError: the platform or the file system has no direct I/O.
        InputError: the folder is missing or cannot be written.
    """
    if not hasattr(os, "O_DIRECT"):
        raise RefusedError("direct I/O needs Linux's O_DIRECT, which this platform lacks")
    try:
        return open_unnamed(directory, os.O_DIRECT)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
            raise RefusedError(f"the file system of {directory} has no direct I/O") from error
        raise


def open_unnamed(directory: Path, flags: int) -> int:
    """Open a new file for reading and writing and remove its name at once."""
    path = directory / f".limits.{os.getpid()}.{time.perf_counter_ns()}.tmp"
    with explained(directory, 0):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | flags, 0o600)
    path.unlink()
    return descriptor


@contextmanager
def explained(directory: Path, size: int) -> Iterator[None]:
    """Turn the file system's refusals into an `InputError` that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(
                f"no space left in {directory} for a scratch file of {size / MIB:.0f} MiB; free "
                "some, probe quickly (256 MiB), or choose another folder"
            ) from error
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS):
            raise InputError(
                f"cannot write to {directory}: {error.strerror}; choose a folder that exists and "
                "can be written"
            ) from error
        raise


def move(
    operation: VectorIO,
    descriptor: int,
    arena: memoryview,
    point: Point,
    offsets: Iterator[int],
) -> Effort:
    """Read or write a block at each offset; each thread has its own slice of the arena.

    ``offsets`` must be one of the iterators written in C, whose next() no thread can interrupt.
    """

    def work(index: int) -> int:
        slices = [arena[index * point.block : (index + 1) * point.block]]
        return sum(operation(descriptor, slices, offset) for offset in offsets)

    return together(point.depth, work)
