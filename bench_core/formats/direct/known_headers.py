"""Headers checked before: parsing one takes as long as copying 2 MiB from the page cache.

For warm files only: whoever asks has seen that the header is in the page cache. A cold file's
header is read and checked again, so that a cold load is cold in all its parts.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from typing import Final

from bench_core.formats.direct.header import Header
from bench_core.formats.direct.open_file import OpenFile
from bench_core.formats.direct.per_process import PerProcess

MAXIMUM_FILES: Final = 8
MAXIMUM_TENSORS: Final = 4096
"""Some 1 MB a header of this size; one with more is not kept."""

_SETTLED_NS: Final = 2_000_000_000
"""A file changed less than this ago may change again within one tick of its clock, unnoticed."""

_Identity = tuple[int, int, int, int, int]

_headers: PerProcess[OrderedDict[_Identity, Header]] = PerProcess(OrderedDict)


def recall(file: OpenFile) -> Header | None:
    """Return the header of an open file that has not changed since it was remembered."""
    return _headers.get().get(_identity(os.fstat(file.descriptor)))


def remember(file: OpenFile, header: Header) -> None:
    """Keep the header of an open file, in the place of the one that was kept first."""
    status = os.fstat(file.descriptor)
    age = time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns)
    if age < _SETTLED_NS or len(header.entries) > MAXIMUM_TENSORS:
        return
    headers = _headers.get()
    headers[_identity(status)] = header
    while len(headers) > MAXIMUM_FILES:
        headers.popitem(last=False)


def forget() -> None:
    """Drop all headers."""
    _headers.release()


def _identity(status: os.stat_result) -> _Identity:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
