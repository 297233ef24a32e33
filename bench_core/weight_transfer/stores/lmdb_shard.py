"""A shard in one LMDB environment: records, counts and tensors change in one transaction.

Readers see one moment and wait for nobody; there is one writer at a time, and each commit syncs.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch

from bench_core.errors import SaveError
from bench_core.formats.direct.per_process import PerProcess
from bench_core.formats.dtypes import byte_view, on_host
from bench_core.optional import require
from bench_core.snapshots.folders import make_folder
from bench_core.weight_transfer.errors import StoreError, retired, taken, tensor_gone, unknown
from bench_core.weight_transfer.graphs import TensorId, split_names
from bench_core.weight_transfer.records import ModelRecord
from bench_core.weight_transfer.stores.filling import fill
from bench_core.weight_transfer.stores.history import decode_change, decode_model, encode_change
from bench_core.weight_transfer.stores.lmdb_tables import Environment, Transaction
from bench_core.weight_transfer.stores.shard import (
    Change,
    Hold,
    Leftovers,
    Shard,
    TensorsOfOwners,
    Usage,
)

_MAP_BYTES: Final = 1 << 40
"""Address space, not memory or disk: the file grows as it is filled."""

_NUMBER: Final = struct.Struct(">Q")
_COUNT: Final = struct.Struct(">QQ")
"""Of a tensor: its holders and its bytes."""

_TENSORS: Final = "tensors"
_TABLES: Final = (
    "models",
    "retired",
    "history",
    "tokens",
    "counts",
    "holds",
    "pins",
    "unpublished",
    _TENSORS,
)


class LmdbShard(Shard):
    """All that a shard keeps in one file; any number of processes of one machine may use it.

    A process opens a folder once: LMDB's locks are the process's, not the handle's.
    """

    def __init__(self, folder: Path) -> None:
        """Open a folder, or make it.

        Raises:
            StoreError: it can't be made, or is none.
            MissingExtraError: lmdb is not installed.
        """
        self.folder = folder
        self._lmdb: Any = require("lmdb", "storage")
        self._lock = threading.RLock()
        try:
            make_folder(folder)
        except SaveError as error:
            raise StoreError(str(error)) from error
        self._environment = PerProcess(self._open)
        with self._writing():
            pass

    def write(self, token: str, tensors: Mapping[TensorId, torch.Tensor]) -> int:
        """Write the values under the token."""
        with self._writing() as table:
            for key, tensor in tensors.items():
                data = byte_view(on_host(tensor.detach()))
                table.put(_TENSORS, token.encode() + key, data.data)
            table.put("unpublished", token.encode(), b"".join(tensors))
        return sum(tensor.nbytes for tensor in tensors.values())

    def discard(self, token: str) -> None:
        """Delete the values that no record names."""
        with self._writing() as table:
            for key in split_names(table.pop("unpublished", token.encode()) or b""):
                table.pop(_TENSORS, token.encode() + key)

    def hold(self, tensors: TensorsOfOwners, token: str) -> None:
        """Count the tensors once more."""
        with self._writing() as table:
            _hold(table, tensors, token)

    def release(self, owners: Sequence[int], token: str) -> int:
        """Count the tensors once less, and delete those that nobody holds."""
        with self._writing() as table:
            return sum(_release(table, owner, token) for owner in owners)

    def publish(self, record: ModelRecord, inherited: TensorsOfOwners) -> None:
        """Take up the record and the values."""
        with self._writing() as table:
            key, token = _NUMBER.pack(record.id), record.token.encode()
            if table.get("models", key) is not None:
                raise taken(record.id)
            _hold(table, inherited, record.token)
            own = table.pop("unpublished", token)
            if own is not None:
                sizes = record.sizes
                for tensor in split_names(own):
                    table.put("counts", key + tensor, _COUNT.pack(1, sizes[tensor]))
                table.put("holds", key + token, own)
                table.put("tokens", key, token)
            table.put("models", key, record.encode())
            self._note(table, Change(record.id, record.graph.names, record.accuracy))

    def withdraw(self, model: int) -> bool:
        """Note that the model went."""
        with self._writing() as table:
            if self._is_retired(table, model):
                return False
            table.put("retired", _NUMBER.pack(model), b"")
            self._note(table, Change(model, ()))
            return not table.keys("pins", _NUMBER.pack(model))

    def pin(self, model: int, token: str) -> None:
        """Note the pin."""
        with self._writing() as table:
            if self._is_retired(table, model):
                raise retired(model)
            table.put("pins", _NUMBER.pack(model) + token.encode(), b"")

    def unpin(self, model: int, token: str) -> bool:
        """Strike the pin out."""
        with self._writing() as table:
            key = _NUMBER.pack(model)
            if table.pop("pins", key + token.encode()) is None or table.keys("pins", key):
                return False
            return self._is_retired(table, model)

    def record(self, model: int) -> ModelRecord:
        """Return the record."""
        with self._reading() as table:
            return self._record(table, model)

    def models(self, retired: bool = False) -> list[int]:
        """Return the ids."""
        with self._reading() as table:
            gone = {_NUMBER.unpack(key)[0] for key in table.keys("retired")}
            changes = [decode_model(value) for _, value in table.items("history")]
        return [
            model
            for model, is_retired in changes
            if is_retired == retired and (retired or model not in gone)
        ]

    def changes(self, since: int) -> tuple[int, list[Change]]:
        """Return the later part of the history."""
        with self._reading() as table:
            end = table.count("history")
            found = [table.get("history", _NUMBER.pack(point)) for point in range(since, end)]
            return end, [decode_change(bytes(value or b"")) for value in found]

    def read(self, wanted: Mapping[int, Mapping[TensorId, torch.Tensor]]) -> None:
        """Copy the values out of the map, all of one moment."""
        with self._reading() as table:
            for owner, destinations in wanted.items():
                token = bytes(table.get("tokens", _NUMBER.pack(owner)) or b"")
                for key, destination in destinations.items():
                    value = table.get(_TENSORS, token + key) if token else None
                    if value is None or not table.get("counts", _NUMBER.pack(owner) + key):
                        raise tensor_gone(owner)
                    fill(destination, value, owner)

    def usage(self) -> Usage:
        """Count what is here."""
        with self._reading() as table:
            counts = [_COUNT.unpack(value) for _, value in table.items("counts")]
            return Usage(
                models=table.count("models") - table.count("retired"),
                tensors=len(counts),
                nbytes=sum(nbytes for _, nbytes in counts),
                references=sum(holders for holders, _ in counts),
            )

    def leftovers(self) -> Leftovers:
        """Return all tokens, holds and pins, of one moment."""
        with self._reading() as table:
            pins = [_numbered(key) for key in table.keys("pins")]
            gone = {_NUMBER.unpack(key)[0] for key in table.keys("retired")}
            gone -= {model for model, _ in pins}
            records = [ModelRecord.decode(bytes(value)) for _, value in table.items("models")]
            return Leftovers(
                unpublished=tuple(key.decode() for key in table.keys("unpublished")),
                holds=tuple(Hold(*_numbered(key)) for key in table.keys("holds")),
                pins=tuple(pins),
                tokens=frozenset(r.token for r in records if r.id not in gone),
            )

    def close(self) -> None:
        """Close this process's environment."""
        with self._lock:
            opened = self._environment.release()
            if opened is not None:
                opened.handle.close()

    def _record(self, table: Transaction, model: int) -> ModelRecord:
        data = table.get("models", _NUMBER.pack(model))
        if data is None:
            raise unknown(model, self.folder)
        return ModelRecord.decode(bytes(data))

    def _is_retired(self, table: Transaction, model: int) -> bool:
        if table.get("models", _NUMBER.pack(model)) is None:
            raise unknown(model, self.folder)
        return table.get("retired", _NUMBER.pack(model)) is not None

    @staticmethod
    def _note(table: Transaction, change: Change) -> None:
        table.put("history", _NUMBER.pack(table.count("history")), encode_change(change))

    def _open(self) -> Environment:
        handle = self._lmdb.open(
            str(self.folder), map_size=_MAP_BYTES, max_dbs=len(_TABLES), max_readers=1024
        )
        return Environment(handle, {name: handle.open_db(name.encode()) for name in _TABLES})

    @contextmanager
    def _transaction(self, write: bool) -> Iterator[Transaction]:
        try:
            opened = self._environment.get()
            with opened.handle.begin(write=write, buffers=not write) as transaction:
                yield Transaction(transaction, opened.tables)
        except self._lmdb.Error as error:
            raise StoreError(f"{self.folder}: {error}; nothing was changed") from error

    @contextmanager
    def _writing(self) -> Iterator[Transaction]:
        with self._lock, self._transaction(write=True) as table:
            yield table

    def _reading(self) -> Any:
        return self._transaction(write=False)


def _hold(table: Transaction, tensors: TensorsOfOwners, token: str) -> None:
    for owner, wanted in tensors.items():
        hold = _NUMBER.pack(owner) + token.encode()
        if table.get("holds", hold) is not None:
            continue
        for tensor in wanted:
            key = _NUMBER.pack(owner) + tensor
            count = table.get("counts", key)
            if count is None:
                raise tensor_gone(owner)
            holders, nbytes = _COUNT.unpack(count)
            table.put("counts", key, _COUNT.pack(holders + 1, nbytes))
        table.put("holds", hold, b"".join(wanted))


def _release(table: Transaction, owner: int, token: str) -> int:
    freed = 0
    hold = table.pop("holds", _NUMBER.pack(owner) + token.encode())
    segment = table.get("tokens", _NUMBER.pack(owner)) or b""
    for tensor in split_names(hold or b""):
        key = _NUMBER.pack(owner) + tensor
        holders, nbytes = _COUNT.unpack(table.get("counts", key))
        if holders > 1:
            table.put("counts", key, _COUNT.pack(holders - 1, nbytes))
            continue
        table.pop("counts", key)
        table.pop(_TENSORS, segment + tensor)
        freed += nbytes
    return freed


def _numbered(key: bytes) -> tuple[int, str]:
    return _NUMBER.unpack(key[: _NUMBER.size])[0], key[_NUMBER.size :].decode()
