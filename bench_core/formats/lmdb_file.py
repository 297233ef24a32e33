"""LMDB: one file, one value per tensor, read from the map straight into the destination.

Keys are numbers, so that the tree is filled in order; the last value is an index of the names.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import torch

from bench_core.errors import CorruptFileError
from bench_core.formats.atomic import write_atomically
from bench_core.formats.base import (
    Durability,
    Format,
    Reader,
    Tensors,
    TensorSpec,
    WriteResult,
)
from bench_core.formats.dtypes import byte_view, logical_bytes, on_host
from bench_core.formats.index import decode_index, encode_index
from bench_core.formats.lmdb_pages import check_pages
from bench_core.formats.reading import (
    BoxReader,
    FillingReader,
    check_file,
    check_sizes,
    corrupt_file_errors,
)
from bench_core.optional import require

PART_BYTES: Final = 1 << 30
"""Largest value: LMDB's limit is 4 GiB - 1, a larger tensor is split."""

_KEY: Final = struct.Struct(">II")
_INDEX_KEY: Final = b"\xff" * _KEY.size
_PAGE_HEADER_BYTES: Final = 16
_NODE_BYTES: Final = 32
_SPARE_BYTES: Final = 1 << 20


class Lmdb(Format):
    """A single LMDB file without a lock file, as there is one writer and it never changes."""

    name: ClassVar[str] = "lmdb"
    suffix: ClassVar[str] = ".mdb"
    layout: ClassVar[str] = "lmdb"
    extra: ClassVar[str | None] = "storage"
    library: ClassVar[str | None] = "lmdb"

    def write(
        self, tensors: Tensors, path: Path, durability: Durability = Durability.FSYNC_DIR
    ) -> WriteResult:
        """Write all tensors in one transaction; its commit does not sync, that comes after it."""
        lmdb: Any = require("lmdb", "storage")
        return write_atomically(
            path,
            durability,
            lambda temporary: _write(lmdb, tensors, temporary),
            bytes_logical=logical_bytes(tensors),
            library_errors=(lmdb.Error,),
        )

    def open(self, path: Path) -> Reader:
        """Check the pages of the tree, map the file and read the index."""
        self.check_available()
        check_file(path)
        check_pages(path)
        return _LmdbReader(path)


class _LmdbReader(FillingReader, BoxReader):
    def __init__(self, path: Path) -> None:
        self.path = path
        self._environment = _Environment.open(path)
        try:
            with corrupt_file_errors(path):
                self._transaction = self._environment.handle.begin(buffers=True)
                index = decode_index(path, self._transaction.get(_INDEX_KEY))
            check_sizes(path, index)
        except BaseException:
            self._environment.close()
            raise
        self._specs = index
        self._numbers = {name: number for number, name in enumerate(index)}

    @property
    def specs(self) -> Mapping[str, TensorSpec]:
        return self._specs

    def fill(self, destinations: Tensors) -> None:
        for name, destination in destinations.items():
            self._fill_bytes(name, 0, destination)

    def read_box(self, name: str, box: tuple[slice, ...]) -> torch.Tensor:
        """Copy the rows of the box out of the map."""
        spec = self.specs[name]
        rows = torch.empty((box[0].stop - box[0].start, *spec.shape[1:]), dtype=spec.dtype)
        self._fill_bytes(name, box[0].start * rows[0].nbytes, rows)
        rest = (slice(None), *box[1:])
        return rows[rest]

    def close(self) -> None:
        if not self.closed:
            self._transaction.abort()
            self._environment.close()
        self.closed = True

    def _fill_bytes(self, name: str, start: int, destination: torch.Tensor) -> None:
        """Copy the bytes of a tensor from ``start`` on; numpy copies faster than torch here."""
        target = byte_view(destination)
        done = 0
        for part, value in self._parts(name):
            begin = max(0, start + done - part * PART_BYTES)
            length = min(len(value) - begin, target.size - done)
            if length > 0:
                target[done : done + length] = np.frombuffer(value, np.uint8)[begin:][:length]
                done += length

    def _parts(self, name: str) -> Iterator[tuple[int, memoryview]]:
        number, size = self._numbers[name], self.specs[name].nbytes
        for part, begin in enumerate(range(0, size, PART_BYTES)):
            value = self._transaction.get(_KEY.pack(number, part))
            expected = min(PART_BYTES, size - begin)
            if value is None or len(value) != expected:
                raise CorruptFileError(
                    f"{self.path}: {name!r} has a part of "
                    f"{'no' if value is None else len(value)} bytes, expected {expected}"
                )
            yield part, value


@dataclass
class _Environment:
    """An open LMDB file, shared by its readers: a process must not open one twice (lmdb.h)."""

    identity: tuple[int, int]
    handle: Any
    users: int = 0

    _opened: ClassVar[dict[tuple[int, int], _Environment]] = {}
    _lock: ClassVar[threading.Lock] = threading.Lock()

    @classmethod
    def open(cls, path: Path) -> _Environment:
        """Open a file, or join those who have it open."""
        lmdb: Any = require("lmdb", "storage")
        with cls._lock:
            while (identity := _identity(path)) not in cls._opened:
                with corrupt_file_errors(path):
                    handle = lmdb.open(str(path), subdir=False, readonly=True, lock=False)
                if identity == _identity(path):
                    cls._opened[identity] = cls(identity, handle)
                else:  # a writer replaced the file meanwhile
                    handle.close()
            environment = cls._opened[identity]
            environment.users += 1
        return environment

    def close(self) -> None:
        """Close the file with its last user."""
        with self._lock:
            self.users -= 1
            if self.users == 0:
                del self._opened[self.identity]
                self.handle.close()


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _write(lmdb: Any, tensors: Tensors, path: Path) -> None:
    environment = lmdb.open(
        str(path),
        subdir=False,
        lock=False,
        map_size=_map_size(tensors),
        # Half the time of the default, which copies every page into memory of its own first.
        writemap=True,
        sync=False,
        metasync=False,
    )
    try:
        # A store into a hole of a mapped file on a full disk kills the process: no holes.
        _allocate(path, environment.info()["map_size"])
        with environment.begin(write=True) as transaction:
            for number, tensor in enumerate(tensors.values()):
                data = byte_view(on_host(tensor)).data
                for part, begin in enumerate(range(0, len(data), PART_BYTES)):
                    value = data[begin : begin + PART_BYTES]
                    transaction.put(_KEY.pack(number, part), value, append=True)
            transaction.put(_INDEX_KEY, encode_index(tensors), append=True)
        used = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    finally:
        environment.close()
    os.truncate(path, used)


def _map_size(tensors: Tensors) -> int:
    """Return what the file can need: whole pages for large values, half-filled leaves else."""
    page = os.sysconf("SC_PAGE_SIZE")
    sizes = [tensor.nbytes for tensor in tensors.values()]
    large = sum(
        -(-(size + _PAGE_HEADER_BYTES) // page) * page for size in sizes if size > page // 4
    )
    small = sum(size for size in sizes if size <= page // 4) + len(sizes) * _NODE_BYTES
    parts = sum(sizes) // PART_BYTES * page
    total = large + 2 * small + parts + 2 * len(encode_index(tensors)) + _SPARE_BYTES
    return -(-total // page) * page


def _allocate(path: Path, size: int) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)
