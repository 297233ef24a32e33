"""Linux's native asynchronous I/O, for many small reads at once: threads are too slow for those.

A Python thread needs its interpreter's lock after every read, which at depth 32 costs a third of
the operations that a disk could do. Here one thread keeps all requests in flight (io_submit(2)).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from typing import Final

from harness.limits import buffers
from harness.limits.crew import Effort


@dataclass(frozen=True)
class _Numbers:
    """System call numbers; the C library has no wrappers for these calls."""

    io_setup: int
    io_destroy: int
    io_getevents: int
    io_submit: int


_NUMBERS: Final = {
    "x86_64": _Numbers(206, 207, 208, 209),
    "aarch64": _Numbers(0, 1, 4, 2),
}


class _Request(ctypes.Structure):
    """``struct iocb`` of <linux/aio_abi.h>; opcode 0 reads."""

    _fields_ = (
        ("data", ctypes.c_uint64),
        ("key_and_flags", ctypes.c_uint64),
        ("opcode", ctypes.c_uint16),
        ("priority", ctypes.c_int16),
        ("descriptor", ctypes.c_uint32),
        ("buffer", ctypes.c_uint64),
        ("size", ctypes.c_uint64),
        ("offset", ctypes.c_int64),
        ("reserved", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("event_descriptor", ctypes.c_uint32),
    )


class _Event(ctypes.Structure):
    """``struct io_event`` of <linux/aio_abi.h>."""

    _fields_ = (
        ("data", ctypes.c_uint64),
        ("request", ctypes.c_uint64),
        ("result", ctypes.c_int64),
        ("result2", ctypes.c_int64),
    )


class _Queue:
    """A kernel queue of reads, each known by its index."""

    def __init__(self, requests: ctypes.Array[_Request]) -> None:
        if sys.platform != "linux" or platform.machine() not in _NUMBERS:
            raise OSError(errno.ENOSYS, f"no asynchronous I/O on {sys.platform}")
        self._numbers = _NUMBERS[platform.machine()]
        self._context = ctypes.c_ulong(0)
        self._events = (_Event * 1)()
        self._one = ctypes.c_long(1)
        self._pointers = [(ctypes.c_void_p * 1)(ctypes.addressof(item)) for item in requests]
        _call(self._numbers.io_setup, len(requests), ctypes.byref(self._context))

    def submit(self, index: int) -> None:
        """Begin the read of this index."""
        _call(self._numbers.io_submit, self._context, self._one, self._pointers[index])

    def wait(self) -> int:
        """Wait until a read ends and return its index."""
        _call(self._numbers.io_getevents, self._context, self._one, self._one, self._events, None)
        event = self._events[0]
        if event.result <= 0:
            raise OSError(-event.result, "an asynchronous read failed")
        return int(event.data)

    def close(self) -> None:
        """Wait for the reads still in flight and free the queue."""
        _call(self._numbers.io_destroy, self._context)


def read_blocks(
    descriptor: int,
    arena: memoryview,
    block: int,
    depth: int,
    offsets: Iterator[int],
    seconds: float,
) -> Effort:
    """Read a block at each offset with ``depth`` reads in flight, for about ``seconds``.

    Args:
        descriptor: a file opened with O_DIRECT.
        arena: touched memory of at least ``block * depth`` bytes.
        block: bytes a read, a multiple of the disk's sector.
        depth: reads in flight.
        offsets: where to read, without end.
        seconds: after which no read is begun.

    Returns:
        The number of reads that ended in time, and the time.

    Raises:
        OSError: the kernel (or a sandbox's filter) does not do this, or a read failed.
    """
    table = (_Request * depth)()
    requests = list(table)
    base = buffers.address(arena)
    for index, request in enumerate(requests):
        request.data = index
        request.descriptor = descriptor
        request.buffer = base + index * block
        request.size = block
    with closing(_Queue(table)) as queue:
        begin = now = time.perf_counter_ns()
        deadline = begin + int(seconds * 1e9)
        for index, request in enumerate(requests):
            request.offset = next(offsets)
            queue.submit(index)
        done = 0
        while now < deadline:
            # One at a time: taking all that ended makes the disk wait for the next batch.
            index = queue.wait()
            done += 1
            requests[index].offset = next(offsets)
            queue.submit(index)
            now = time.perf_counter_ns()
        return Effort(done, (now - begin) * 1e-9)


def _call(number: int, *arguments: object) -> int:
    result = int(_syscall()(ctypes.c_long(number), *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"asynchronous I/O: {os.strerror(code)}")
    return result


@cache
def _syscall() -> ctypes._NamedFuncPointer:
    function = ctypes.CDLL(None, use_errno=True).syscall
    function.restype = ctypes.c_long
    return function
