"""Writing a safetensors file in chunks, several in flight, past the page cache where that works."""

from __future__ import annotations

import bisect
import errno
import os
import threading
from collections.abc import Mapping
from pathlib import Path

import torch

from bench_core.errors import UnsupportedError
from bench_core.formats.base import Tensors
from bench_core.formats.direct import arena, raw_io, workers
from bench_core.formats.direct.alignment import BUFFERED, Alignment, make_buffered, make_direct
from bench_core.formats.direct.arena import CHUNK_BYTES
from bench_core.formats.direct.layout import layout
from bench_core.formats.direct.memory import is_plain
from bench_core.formats.dtypes import on_host


def write_file(path: Path, tensors: Tensors, metadata: Mapping[str, str] | None = None) -> None:
    """Write ``tensors`` to the new file ``path``, ``metadata`` in its header; nothing is synced.

    Where the file system has no direct I/O the same bytes go through the page cache. Memory: the
    arena, and a host copy of those tensors in flight that are not contiguous CPU tensors.

    Raises:
        OSError: the file exists, the disk is full, the device failed.
        UnsupportedError: a tensor that the format cannot store.
    """
    sources = _sources(tensors, metadata)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        _preallocate(descriptor, sources[-1].end)
        try:
            alignment = make_direct(descriptor)
        except UnsupportedError:
            alignment = BUFFERED
        _write_chunks(descriptor, sources, alignment)
    finally:
        os.close(descriptor)


class _Source:
    """Bytes ``begin`` to ``end`` of the file, and the tensor they come from.

    A tensor whose memory is not plain is copied when its first chunk is written, and the copy goes
    with its last one.
    """

    def __init__(self, begin: int, end: int, tensor: torch.Tensor) -> None:
        self.begin = begin
        self.end = end
        self._tensor = tensor
        self._is_plain = is_plain(tensor)
        self._host: torch.Tensor | None = None
        self._chunks_left = (end - 1) // CHUNK_BYTES - begin // CHUNK_BYTES + 1
        self._lock = threading.Lock()

    def acquire(self) -> int:
        """Return the address of the first byte; once for each chunk."""
        if self._is_plain:
            return self._tensor.data_ptr()
        with self._lock:
            if self._host is None:
                self._host = on_host(self._tensor)
            return self._host.data_ptr()

    def release(self) -> None:
        """End what `acquire` began."""
        if self._is_plain:
            return
        with self._lock:
            self._chunks_left -= 1
            if self._chunks_left == 0:
                self._host = None


def _sources(tensors: Tensors, metadata: Mapping[str, str] | None) -> list[_Source]:
    """Return the parts of the file in order, the header first."""
    plan = layout(tensors, metadata)
    header = torch.frombuffer(bytearray(plan.header), dtype=torch.uint8)
    sources = [_Source(0, len(plan.header), header)]
    sources += [_Source(place.begin, place.end, tensors[place.name]) for place in plan.places]
    return sources


def _preallocate(descriptor: int, size: int) -> None:
    """Reserve the blocks: a full disk shows now, and writes in any order stay one extent."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise


def _write_chunks(descriptor: int, sources: list[_Source], alignment: Alignment) -> None:
    size = sources[-1].end
    begins = [source.begin for source in sources]

    def write(begin: int) -> None:
        end = min(begin + CHUNK_BYTES, size)
        first = bisect.bisect_right(begins, begin) - 1
        last = bisect.bisect_left(begins, end)
        _write_chunk(descriptor, sources[first:last], begin, end, alignment)

    workers.run(range(0, size, CHUNK_BYTES), write)
    if size % alignment.offset:
        os.ftruncate(descriptor, size)


def _write_chunk(
    descriptor: int, sources: list[_Source], begin: int, end: int, alignment: Alignment
) -> None:
    """Write one chunk: from the tensor itself if it is the only one and alignment allows."""
    nbytes = alignment.up(end) - begin
    try:
        addresses = [source.acquire() for source in sources]
        straight = addresses[0] + begin - sources[0].begin
        if len(sources) == 1 and nbytes == end - begin and straight % alignment.memory == 0:
            _write_all(descriptor, straight, nbytes, begin)
            return
        with arena.current().chunk() as chunk:
            for source, address in zip(sources, addresses, strict=True):
                start, stop = max(begin, source.begin), min(end, source.end)
                raw_io.copy(chunk + start - begin, address + start - source.begin, stop - start)
            raw_io.fill(chunk + end - begin, 0, nbytes - (end - begin))
            _write_all(descriptor, chunk, nbytes, begin)
    finally:
        for source in sources:
            source.release()


def _write_all(descriptor: int, address: int, nbytes: int, offset: int) -> None:
    done = 0
    while done < nbytes:
        done += _pwrite(descriptor, address + done, nbytes - done, offset + done)


def _pwrite(descriptor: int, address: int, nbytes: int, offset: int) -> int:
    try:
        return raw_io.pwrite(descriptor, address, nbytes, offset)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # A file system that takes the flag and refuses the write, or a short write that left an
        # unaligned rest: the page cache takes both.
        make_buffered(descriptor)
        return raw_io.pwrite(descriptor, address, nbytes, offset)
