"""A shard on disk: a file of tensors for each put but the smallest, past the page cache.

Layout of its folder: ``ledger.sqlite`` and ``segments/<token>.safetensors``, the tensors under
their ids in hexadecimal. One file a put, because many small files cost many syncs; a tensor that
nobody holds any more becomes a hole in it, and the file goes with its last tensor. A put of few
bytes has no file: they lie in the ledger and are synced with the record.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import torch

from bench_core.errors import SaveError
from bench_core.formats.direct import workers
from bench_core.formats.direct.header import read_header
from bench_core.formats.direct.open_file import OpenFile
from bench_core.formats.direct.writer import write_file
from bench_core.formats.dtypes import byte_view, on_host
from bench_core.layer_loading import load_into
from bench_core.snapshots.folders import make_folder, sync_folders
from bench_core.weight_transfer.errors import RetiredError, StoreError
from bench_core.weight_transfer.graphs import TensorId
from bench_core.weight_transfer.records import ModelRecord
from bench_core.weight_transfer.stores.filling import fill
from bench_core.weight_transfer.stores.ledger import Ledger
from bench_core.weight_transfer.stores.shard import (
    Change,
    Leftovers,
    Shard,
    TensorsOfOwners,
    Usage,
)

_SUFFIX: Final = ".safetensors"
_KEEP_SIZE_AND_PUNCH_HOLE: Final = 1 | 2
_BLOCK: Final = 4096
SMALL_BYTES: Final = 64 << 10
"""Of a put whose tensors go into the ledger. A file costs two syncs more, the ledger a second copy
of the bytes."""


_READ_ALONE_BYTES: Final = 1 << 20
"""Up to so many are read one after the other, through the page cache."""


class FileShard(Shard):
    """Records in SQLite, tensors in files; a put and a retirement are durable when they return."""

    def __init__(self, folder: Path, policy: str = "auto", small_bytes: int = SMALL_BYTES) -> None:
        """Open a folder, or make it.

        Args:
            folder: on a disk of this machine.
            policy: how tensors are read, see `bench_core.layer_loading.load`.
            small_bytes: up to so many a put goes into the ledger, without a file.

        Raises:
            StoreError: it can't be made, or is none.
        """
        self.folder = folder
        self._segments = folder / "segments"
        self._policy = policy
        self._small_bytes = small_bytes
        self._small: dict[str, dict[TensorId, bytes]] = {}
        """Few bytes that wait for their record, by token."""
        try:
            make_folder(self._segments)
        except SaveError as error:
            raise StoreError(str(error)) from error
        self._ledger = Ledger(folder / "ledger.sqlite")

    def write(self, token: str, tensors: Mapping[TensorId, torch.Tensor]) -> int:
        """Write one file; its bytes and its name are on the device when this returns.

        Few bytes only become durable with their record: nobody could see them before.
        """
        if _nbytes(tensors) <= self._small_bytes:
            self._small[token] = {
                key: byte_view(on_host(tensor.detach())).tobytes()
                for key, tensor in tensors.items()
            }
            return _nbytes(tensors)
        path = self._path(token)
        try:
            write_file(path, {key.hex(): tensor.detach() for key, tensor in tensors.items()})
            _sync(path)
            sync_folders([self._segments])
            return path.stat().st_size
        except BaseException as error:
            path.unlink(missing_ok=True)
            if isinstance(error, OSError):
                reason = os.strerror(error.errno) if error.errno else str(error)
                raise StoreError(f"{path}: not written, {reason}") from error
            raise

    def discard(self, token: str) -> None:
        """Remove the file, unless a record names it."""
        self._small.pop(token, None)
        if not self._ledger.counted(token):
            self._path(token).unlink(missing_ok=True)

    def hold(self, tensors: TensorsOfOwners, token: str) -> None:
        """Count the tensors once more."""
        self._ledger.hold(tensors, token)

    def release(self, owners: Sequence[int], token: str) -> int:
        """Count the tensors once less; make holes where those lay that nobody holds."""
        freed, segments = self._ledger.release(owners, token)
        for segment in segments:
            self._erase(segment)
        return freed

    def publish(self, record: ModelRecord, inherited: TensorsOfOwners) -> None:
        """Take up the record, and the file or the few bytes if there are any."""
        small = self._small.get(record.token, {})
        has_segment = not small and self._path(record.token).exists()
        self._ledger.publish(record, inherited, has_segment, small)
        self._small.pop(record.token, None)

    def withdraw(self, model: int) -> bool:
        """Note that the model went."""
        return self._ledger.withdraw(model)

    def pin(self, model: int, token: str) -> None:
        """Note the pin."""
        self._ledger.pin(model, token)

    def unpin(self, model: int, token: str) -> bool:
        """Strike the pin out."""
        return self._ledger.unpin(model, token)

    def record(self, model: int) -> ModelRecord:
        """Return the record."""
        return self._ledger.record(model)

    def models(self, retired: bool = False) -> list[int]:
        """Return the ids."""
        return self._ledger.models(retired)

    def changes(self, since: int) -> tuple[int, list[Change]]:
        """Return the later part of the history."""
        return self._ledger.changes(since)

    def read(self, wanted: Mapping[int, Mapping[TensorId, torch.Tensor]]) -> None:
        """Take few bytes from the ledger, and read the files of all other owners at once."""
        ids = {owner: list(destinations) for owner, destinations in wanted.items()}
        found = self._ledger.find(ids)
        files = []
        for owner, destinations in wanted.items():
            place = found[owner]
            if isinstance(place, str):
                files.append((owner, self._path(place), destinations))
                continue
            for key, tensor in destinations.items():
                fill(tensor, place[key], owner)
        if sum(_nbytes(destinations) for _, _, destinations in files) > _READ_ALONE_BYTES:
            workers.run(files, lambda file: self._read(*file))
        else:  # threads would take longer to begin
            for file in files:
                self._read(*file)
        # What is counted now was so all along; else a hole may have been read.
        self._ledger.find({owner: ids[owner] for owner, _, _ in files})

    def usage(self) -> Usage:
        """Count what is here."""
        return self._ledger.usage()

    def leftovers(self) -> Leftovers:
        """Return files without a record, and all holds and pins."""
        files = [path.name.removesuffix(_SUFFIX) for path in self._segments.glob(f"*{_SUFFIX}")]
        # Asked for after the files: what was published meanwhile is seen to be.
        published = self._ledger.segments()
        return Leftovers(
            unpublished=(*self._small, *(token for token in files if token not in published)),
            holds=self._ledger.holds(),
            pins=self._ledger.pins(),
            tokens=self._ledger.kept_tokens(),
        )

    def close(self) -> None:
        """Close the ledger."""
        self._ledger.close()

    def _path(self, token: str) -> Path:
        return self._segments / f"{token}{_SUFFIX}"

    def _read(self, owner: int, path: Path, destinations: Mapping[TensorId, torch.Tensor]) -> None:
        into = {key.hex(): tensor for key, tensor in destinations.items()}
        policy = self._policy
        if policy == "auto" and _nbytes(destinations) <= _READ_ALONE_BYTES:
            policy = "pread"  # to ask what is in the page cache would take longer
        try:
            load_into(into, path, list(into), policy=policy)
        except FileNotFoundError as error:
            raise RetiredError(f"{path}: the tensors of model {owner} are gone") from error

    def _erase(self, token: str) -> None:
        """Give the room of a file back as far as nobody holds its tensors.

        Of all that are not held, also those that a process left which died before it came here.
        """
        path = self._path(token)
        held = self._ledger.counted(token)
        try:
            if not held:
                path.unlink(missing_ok=True)
                return
            file = OpenFile(path)
        except FileNotFoundError:
            return
        try:
            entries = read_header(file).entries
            gone = [e for name, e in entries.items() if bytes.fromhex(name) not in held]
        finally:
            file.close()
        _punch(path, [(entry.begin, entry.end) for entry in gone])


def _nbytes(tensors: Mapping[TensorId, torch.Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _punch(path: Path, ranges: Iterable[tuple[int, int]]) -> None:
    """Make holes of the whole blocks within some byte ranges, where the file system can.

    Where it cannot, the room is given back with the file's last tensor.
    """
    fallocate = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None)
    if fallocate is None:
        return
    descriptor = os.open(path, os.O_RDWR)
    try:
        for begin, end in ranges:
            first, last = -(-begin // _BLOCK) * _BLOCK, end // _BLOCK * _BLOCK
            if last <= first:
                continue
            start, length = ctypes.c_int64(first), ctypes.c_int64(last - first)
            if fallocate(descriptor, _KEEP_SIZE_AND_PUNCH_HOLE, start, length):
                code = ctypes.get_errno()
                if code in (errno.EOPNOTSUPP, errno.ENOSYS):
                    return
                raise StoreError(f"{path}: no room given back, {os.strerror(code)}")
    finally:
        os.close(descriptor)
