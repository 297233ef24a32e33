"""Positioned reads, writes and copies on raw addresses; each call releases the GIL while it works.

Addresses rather than buffers, because whether O_DIRECT takes memory as it is depends on its
address. The caller keeps the memory alive until the call returns.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from functools import cache

copy = ctypes.memmove
"""``copy(destination, source, nbytes)``"""

fill = ctypes.memset
"""``fill(address, byte, nbytes)``"""

bytes_at = ctypes.string_at
"""``bytes_at(address, nbytes)`` returns a copy."""


def pread(descriptor: int, address: int, nbytes: int, offset: int) -> int:
    """Read up to ``nbytes`` at ``offset`` of the file to ``address``; return how many came.

    Raises:
        OSError: the read failed. A signal is no failure.
    """
    return _retried(_functions()[0], descriptor, address, nbytes, offset)


def pwrite(descriptor: int, address: int, nbytes: int, offset: int) -> int:
    """Write up to ``nbytes`` from ``address`` to ``offset`` of the file; return how many went.

    Raises:
        OSError: the write failed. A signal is no failure.
    """
    return _retried(_functions()[1], descriptor, address, nbytes, offset)


def _retried(call: Callable[..., int], *arguments: int) -> int:
    while (done := call(*arguments)) < 0:
        code = ctypes.get_errno()
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))
    return done


@cache
def _functions() -> tuple[Callable[..., int], Callable[..., int]]:
    libc = ctypes.CDLL(None, use_errno=True)
    for call in (libc.pread, libc.pwrite):
        call.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64]
        call.restype = ctypes.c_ssize_t
    return libc.pread, libc.pwrite
