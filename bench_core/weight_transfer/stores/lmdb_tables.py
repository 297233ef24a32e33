"""The tables of an LMDB environment, by name, within a transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Environment:
    """An open environment."""

    handle: Any
    """lmdb's own."""
    tables: Mapping[str, Any]
    """Its tables by name."""


class Transaction:
    """One moment of all tables."""

    def __init__(self, transaction: Any, tables: Mapping[str, Any]) -> None:
        self._transaction = transaction
        self._tables = tables

    def get(self, table: str, key: bytes) -> Any:
        """Return a value, or None."""
        return self._transaction.get(key, db=self._tables[table])

    def put(self, table: str, key: bytes, value: Any) -> None:
        """Store a value."""
        self._transaction.put(key, value, db=self._tables[table])

    def pop(self, table: str, key: bytes) -> Any:
        """Delete a value and return it, or None."""
        return self._transaction.pop(key, db=self._tables[table])

    def count(self, table: str) -> int:
        """Return the number of values."""
        return int(self._transaction.stat(self._tables[table])["entries"])

    def items(self, table: str) -> list[tuple[bytes, bytes]]:
        """Return all keys and values, in the order of the keys."""
        with self._transaction.cursor(db=self._tables[table]) as cursor:
            return [(bytes(key), bytes(value)) for key, value in cursor]

    def keys(self, table: str, prefix: bytes = b"") -> list[bytes]:
        """Return the keys that begin so."""
        found = []
        with self._transaction.cursor(db=self._tables[table]) as cursor:
            more = cursor.set_range(prefix) if prefix else cursor.first()
            while more and bytes(cursor.key()).startswith(prefix):
                found.append(bytes(cursor.key()))
                more = cursor.next()
        return found
