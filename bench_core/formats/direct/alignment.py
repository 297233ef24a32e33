"""What O_DIRECT asks of addresses, offsets and lengths on one file, as the kernel tells it."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final

from bench_core.errors import UnsupportedError

PAGE_BYTES: Final = 4096
"""Suits every device with blocks of 512 or 4096 bytes: what is assumed where nothing is told."""

_AT_EMPTY_PATH: Final = 0x1000
_STATX_DIOALIGN: Final = 0x2000
_STATX_BYTES: Final = 256
_DIO_ALIGN_AT: Final = 152


@dataclass(frozen=True)
class Alignment:
    """Divisors of what one request may name: `memory` of addresses, `offset` of file positions."""

    memory: int
    offset: int

    def down(self, position: int) -> int:
        """Return the last position allowed at or before ``position``."""
        return position - position % self.offset

    def up(self, position: int) -> int:
        """Return the first position allowed at or after ``position``."""
        return position + -position % self.offset


BUFFERED: Final = Alignment(memory=1, offset=1)
"""Through the page cache anything goes."""


def make_direct(descriptor: int) -> Alignment:
    """Switch an open file to O_DIRECT and return what that asks for.

    Switched after the open, because an open with O_DIRECT that a file system refuses may have
    created the file all the same.

    Raises:
        UnsupportedError: the platform or the file system has no direct I/O.
    """
    flag = getattr(os, "O_DIRECT", None)
    if flag is None:
        raise UnsupportedError("this platform has no O_DIRECT")
    alignment = _told(descriptor)
    if alignment == Alignment(0, 0):
        raise UnsupportedError("the file system has no direct I/O for this file")
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | flag)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
        raise UnsupportedError("the file system refuses O_DIRECT") from error
    return alignment


def make_buffered(descriptor: int) -> None:
    """Switch an open file back to the page cache."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags & ~getattr(os, "O_DIRECT", 0))


def _told(descriptor: int) -> Alignment:
    """Return what statx(2) says (Linux 6.1 and later), else a page for both."""
    assumed = Alignment(PAGE_BYTES, PAGE_BYTES)
    statx = _statx()
    if statx is None:
        return assumed
    answer = ctypes.create_string_buffer(_STATX_BYTES)
    if statx(descriptor, b"", _AT_EMPTY_PATH, _STATX_DIOALIGN, answer) != 0:
        return assumed
    (mask,) = struct.unpack_from("=I", answer)
    if not mask & _STATX_DIOALIGN:
        return assumed
    return Alignment(*struct.unpack_from("=II", answer, _DIO_ALIGN_AT))


@cache
def _statx() -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None, use_errno=True), "statx", None)
