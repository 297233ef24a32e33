"""The metadata of a shard on disk: records, holds, counts and pins in one SQLite database."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench_core.formats.direct.per_process import PerProcess
from bench_core.weight_transfer.errors import StoreError, retired, taken, tensor_gone, unknown
from bench_core.weight_transfer.graphs import TensorId, split_names
from bench_core.weight_transfer.records import ModelRecord
from bench_core.weight_transfer.stores.shard import Change, Hold, TensorsOfOwners, Usage
from bench_core.write_ahead import begin_write_ahead

_PATIENCE_S: Final = 60.0
"""How long other processes' transactions are waited for."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS models (id INTEGER PRIMARY KEY, body BLOB NOT NULL, names BLOB NOT NULL,
    accuracy REAL, token TEXT NOT NULL, retired INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS history (point INTEGER PRIMARY KEY AUTOINCREMENT,
    model INTEGER NOT NULL, retired INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS segments (owner INTEGER PRIMARY KEY, token TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS small (owner INTEGER, tensor BLOB, data BLOB NOT NULL,
    PRIMARY KEY (owner, tensor));
CREATE TABLE IF NOT EXISTS counts (owner INTEGER, tensor BLOB, holders INTEGER NOT NULL,
    nbytes INTEGER NOT NULL, PRIMARY KEY (owner, tensor)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS holds (owner INTEGER, token TEXT, tensors BLOB NOT NULL,
    PRIMARY KEY (owner, token)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pins (model INTEGER, token TEXT, PRIMARY KEY (model, token))
    WITHOUT ROWID;
"""


class Ledger:
    """Transactions over one shard's metadata, durable when they return, but for pins.

    Any number of processes and threads of one machine; a file system that several machines mount
    does not give SQLite the locks that it needs.
    """

    def __init__(self, path: Path) -> None:
        """Open the database, or make it.

        Raises:
            StoreError: it can't be made, or is no database.
        """
        self._path = path
        self._lock = threading.RLock()
        self._connection = PerProcess(self._open)
        with self._transaction():
            pass

    def hold(self, tensors: TensorsOfOwners, token: str) -> None:
        """See `Shard.hold`."""
        with self._transaction() as db:
            _hold(db, tensors, token)

    def release(self, owners: Sequence[int], token: str) -> tuple[int, list[str]]:
        """Take holds back; return the freed bytes, and the segments that have lost tensors."""
        nbytes, segments = 0, []
        with self._transaction() as db:
            for owner in owners:
                freed, segment = _release(db, owner, token)
                nbytes += freed
                if freed and segment is not None:
                    segments.append(segment)
        return nbytes, segments

    def publish(
        self,
        record: ModelRecord,
        inherited: TensorsOfOwners,
        has_segment: bool,
        small: Mapping[TensorId, bytes],
    ) -> None:
        """See `Shard.publish`; the model's bytes lie in a segment, or come here with the record."""
        with self._transaction() as db:
            if db.execute("SELECT 1 FROM models WHERE id = ?", (record.id,)).fetchone():
                raise taken(record.id)
            _hold(db, inherited, record.token)
            if has_segment:
                db.execute("INSERT INTO segments VALUES (?, ?)", (record.id, record.token))
            rows = [(record.id, tensor, data) for tensor, data in small.items()]
            db.executemany("INSERT INTO small VALUES (?, ?, ?)", rows)
            if has_segment or small:
                own = record.by_owner[record.id]
                sizes = record.sizes
                db.executemany(
                    "INSERT INTO counts VALUES (?, ?, 1, ?)",
                    [(record.id, tensor, sizes[tensor]) for tensor in own],
                )
                db.execute(
                    "INSERT INTO holds VALUES (?, ?, ?)", (record.id, record.token, b"".join(own))
                )
            db.execute(
                "INSERT INTO models (id, body, names, accuracy, token) VALUES (?, ?, ?, ?, ?)",
                (
                    record.id,
                    record.encode(),
                    b"".join(record.graph.names),
                    record.accuracy,
                    record.token,
                ),
            )
            db.execute("INSERT INTO history (model, retired) VALUES (?, 0)", (record.id,))

    def withdraw(self, model: int) -> bool:
        """See `Shard.withdraw`."""
        with self._transaction() as db:
            if self._is_retired(db, model):
                return False
            db.execute("UPDATE models SET retired = 1 WHERE id = ?", (model,))
            db.execute("INSERT INTO history (model, retired) VALUES (?, 1)", (model,))
            return not self._is_pinned(db, model)

    def pin(self, model: int, token: str) -> None:
        """See `Shard.pin`."""
        with self._transaction(is_durable=False) as db:
            if self._is_retired(db, model):
                raise retired(model)
            db.execute("INSERT OR IGNORE INTO pins VALUES (?, ?)", (model, token))

    def unpin(self, model: int, token: str) -> bool:
        """See `Shard.unpin`."""
        with self._transaction(is_durable=False) as db:
            done = db.execute("DELETE FROM pins WHERE model = ? AND token = ?", (model, token))
            if not done.rowcount or self._is_pinned(db, model):
                return False
            return self._is_retired(db, model)

    def record(self, model: int) -> ModelRecord:
        """See `Shard.record`."""
        with self._reading() as db:
            row = db.execute("SELECT body FROM models WHERE id = ?", (model,)).fetchone()
        if row is None:
            raise unknown(model, self._path)
        return ModelRecord.decode(row[0])

    def models(self, retired: bool) -> list[int]:
        """See `Shard.models`."""
        with self._reading() as db:
            rows = db.execute(
                "SELECT model FROM history WHERE retired = ? AND (retired = 1 OR model IN "
                "(SELECT id FROM models WHERE retired = 0)) ORDER BY point",
                (int(retired),),
            )
            return [row[0] for row in rows]

    def changes(self, since: int) -> tuple[int, list[Change]]:
        """See `Shard.changes`."""
        with self._reading() as db:
            rows = db.execute(
                "SELECT h.point, h.model, h.retired, m.names, m.accuracy FROM history h "
                "JOIN models m ON m.id = h.model WHERE h.point > ? ORDER BY h.point",
                (since,),
            ).fetchall()
        changes = [
            Change(model, () if retired else split_names(names), accuracy)
            for _, model, retired, names, accuracy in rows
        ]
        return (rows[-1][0] if rows else since), changes

    def find(self, wanted: TensorsOfOwners) -> Mapping[int, str | Mapping[TensorId, bytes]]:
        """Return for each owner the token of the file with its tensors, or the small ones.

        Raises:
            RetiredError: a tensor is not counted any more.
        """
        with self._reading() as db:
            return {owner: self._find(db, owner, tensors) for owner, tensors in wanted.items()}

    def _find(
        self, db: sqlite3.Connection, owner: int, tensors: Sequence[TensorId]
    ) -> str | Mapping[TensorId, bytes]:
        row = db.execute("SELECT token FROM segments WHERE owner = ?", (owner,)).fetchone()
        table, value = ("small", "data") if row is None else ("counts", "NULL")
        query = f"SELECT tensor, {value} FROM {table} WHERE owner = ?"
        there = dict(db.execute(query, (owner,)).fetchall())
        if not there.keys() >= set(tensors):
            raise tensor_gone(owner, where=self._path)
        return there if row is None else str(row[0])

    def counted(self, token: str) -> frozenset[TensorId]:
        """Return those tensors of published bytes that anybody holds; none where nobody does."""
        with self._reading() as db:
            rows = db.execute(
                "SELECT c.tensor FROM segments s JOIN counts c ON c.owner = s.owner "
                "WHERE s.token = ?",
                (token,),
            )
            return frozenset(tensor for (tensor,) in rows)

    def segments(self) -> frozenset[str]:
        """Return the tokens of all published bytes."""
        with self._reading() as db:
            return frozenset(token for (token,) in db.execute("SELECT token FROM segments"))

    def holds(self) -> tuple[Hold, ...]:
        """Return all holds."""
        with self._reading() as db:
            rows = db.execute("SELECT owner, token FROM holds")
            return tuple(Hold(owner, token) for owner, token in rows)

    def pins(self) -> tuple[tuple[int, str], ...]:
        """Return all pins."""
        with self._reading() as db:
            return tuple(db.execute("SELECT model, token FROM pins").fetchall())

    def kept_tokens(self) -> frozenset[str]:
        """Return the tokens of live models and of pinned ones."""
        with self._reading() as db:
            rows = db.execute(
                "SELECT token FROM models WHERE retired = 0 OR id IN (SELECT model FROM pins)"
            )
            return frozenset(row[0] for row in rows)

    def usage(self) -> Usage:
        """See `Shard.usage`."""
        with self._reading() as db:
            models = db.execute("SELECT count(*) FROM models WHERE retired = 0").fetchone()[0]
            tensors, nbytes, references = db.execute(
                "SELECT count(*), coalesce(sum(nbytes), 0), coalesce(sum(holders), 0) FROM counts"
            ).fetchone()
        return Usage(models=models, tensors=tensors, nbytes=nbytes, references=references)

    def close(self) -> None:
        """Close this process's connection."""
        with self._lock:
            connection = self._connection.release()
            if connection is not None:
                connection.close()

    def _is_retired(self, db: sqlite3.Connection, model: int) -> bool:
        row = db.execute("SELECT retired FROM models WHERE id = ?", (model,)).fetchone()
        if row is None:
            raise unknown(model, self._path)
        return bool(row[0])

    @staticmethod
    def _is_pinned(db: sqlite3.Connection, model: int) -> bool:
        return bool(db.execute("SELECT 1 FROM pins WHERE model = ? LIMIT 1", (model,)).fetchone())

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=_PATIENCE_S, isolation_level=None, check_same_thread=False
        )
        begin_write_ahead(connection, _PATIENCE_S)
        connection.executescript(_SCHEMA)
        return connection

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._connection.get()
            except sqlite3.Error as error:
                raise StoreError(f"{self._path}: {error}; is it a layer store's ledger?") from error

    @contextmanager
    def _transaction(self, is_durable: bool = True) -> Iterator[sqlite3.Connection]:
        """Give the connection within a transaction that is undone when anything is raised.

        One that is not durable outlives its process, but not the machine: enough for a pin, which
        means nothing without the process that has it.
        """
        with self._reading() as db:
            db.execute(f"PRAGMA synchronous = {'FULL' if is_durable else 'NORMAL'}")
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise


def _hold(db: sqlite3.Connection, tensors: TensorsOfOwners, token: str) -> None:
    for owner, wanted in tensors.items():
        known = db.execute("SELECT 1 FROM holds WHERE owner = ? AND token = ?", (owner, token))
        if known.fetchone():
            continue
        for tensor in wanted:
            done = db.execute(
                "UPDATE counts SET holders = holders + 1 WHERE owner = ? AND tensor = ?",
                (owner, tensor),
            )
            if not done.rowcount:
                raise tensor_gone(owner)
        db.execute("INSERT INTO holds VALUES (?, ?, ?)", (owner, token, b"".join(wanted)))


def _release(db: sqlite3.Connection, owner: int, token: str) -> tuple[int, str | None]:
    """Take a hold back; return the freed bytes, and the segment with the owner's tensors."""
    hold = db.execute(
        "DELETE FROM holds WHERE owner = ? AND token = ? RETURNING tensors", (owner, token)
    ).fetchone()
    if hold is None:
        return 0, None
    db.executemany(
        "UPDATE counts SET holders = holders - 1 WHERE owner = ? AND tensor = ?",
        [(owner, tensor) for tensor in split_names(hold[0])],
    )
    freed = db.execute(
        "DELETE FROM counts WHERE owner = ? AND holders = 0 RETURNING nbytes", (owner,)
    ).fetchall()
    segment = db.execute("SELECT token FROM segments WHERE owner = ?", (owner,)).fetchone()
    left = db.execute("SELECT 1 FROM counts WHERE owner = ? LIMIT 1", (owner,)).fetchone()
    if left is None:
        db.execute("DELETE FROM segments WHERE owner = ?", (owner,))
    if freed and segment is None:
        db.execute(
            "DELETE FROM small WHERE owner = ?1 AND tensor NOT IN "
            "(SELECT tensor FROM counts WHERE owner = ?1)",
            (owner,),
        )
    return sum(row[0] for row in freed), None if segment is None else str(segment[0])
