"""Finished features on disk, so that a search that was stopped, or a like one, goes on from there.

One SQLite file in write-ahead mode: what was committed survives a kill, and two searches may share
it. A row's key says all that decides its bits: the chain's blocks, the data, the batch, and what
computes them.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch

from bench_core.errors import SaveError
from bench_core.model_search.batches import Batch
from bench_core.write_ahead import begin_write_ahead

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS features (
    chain TEXT, data TEXT, split TEXT, start INTEGER, stop INTEGER, environment TEXT,
    dim INTEGER NOT NULL, bits BLOB NOT NULL, crc32 INTEGER NOT NULL,
    PRIMARY KEY (chain, data, split, start, stop, environment)
) WITHOUT ROWID
"""
_WAIT_SECONDS: Final = 60


class Journal:
    """Features by chain and batch, for one search; close it at the end."""

    def __init__(self, path: Path, environment: str, data: dict[str, str]) -> None:
        """Open or make the file.

        Args:
            path: the file; its folder is made.
            environment: what computes: features of another one are not taken.
            data: digest of the data set of each split.

        Raises:
            SaveError: it cannot be opened, or is something else.
        """
        self._path, self._environment, self._data = path, environment, data
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=_WAIT_SECONDS)
        except (OSError, sqlite3.Error) as error:
            raise self._failure(error) from error
        try:
            begin_write_ahead(self._connection, _WAIT_SECONDS)
            self._connection.execute("PRAGMA synchronous = NORMAL")
            with self._connection:
                self._connection.execute(_TABLE)
        except sqlite3.Error as error:
            self._connection.close()
            raise self._failure(error) from error

    def get(self, chain: str, batch: Batch) -> torch.Tensor | None:
        """Return features of shape (items, dim), or None where there are none, or damaged ones.

        Raises:
            SaveError: the file was damaged, or is locked for long.
        """
        try:
            row = self._connection.execute(
                "SELECT dim, bits, crc32 FROM features WHERE chain = ? AND data = ? AND split = ? "
                "AND start = ? AND stop = ? AND environment = ?",
                self._key(chain, batch),
            ).fetchone()
        except sqlite3.Error as error:
            raise self._failure(error) from error
        if row is None or zlib.crc32(row[1]) != row[2]:
            return None
        values = np.frombuffer(bytearray(row[1]), dtype=np.float32)
        if len(values) != len(batch) * row[0]:
            return None
        return torch.from_numpy(values).view(len(batch), row[0])

    def put(self, found: Iterable[tuple[str, Batch, torch.Tensor]]) -> None:
        """Keep features, all of them or none.

        Raises:
            SaveError: the disk is full, or the file was damaged.
        """
        rows = [(*self._key(chain, batch), *_row(features)) for chain, batch, features in found]
        try:
            with self._connection:
                self._connection.executemany(
                    "INSERT OR REPLACE INTO features VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows
                )
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _key(self, chain: str, batch: Batch) -> Sequence[str | int]:
        data = self._data[batch.split]
        return chain, data, batch.split, batch.start, batch.stop, self._environment

    def _failure(self, error: Exception) -> SaveError:
        return SaveError(
            f"{self._path}: the journal of the search cannot be used ({error}); make room there, "
            "remove it, or search without one"
        )


def _row(features: torch.Tensor) -> tuple[int, bytes, int]:
    bits = features.contiguous().numpy().tobytes()
    return features.shape[1], bits, zlib.crc32(bits)
