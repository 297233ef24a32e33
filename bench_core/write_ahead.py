"""Write-ahead mode of SQLite files that several processes share: who opens one waits for it."""

from __future__ import annotations

import sqlite3
import time
from typing import Final

_AGAIN_SECONDS: Final = 0.01


def begin_write_ahead(connection: sqlite3.Connection, patience: float) -> None:
    """Bring a file to write-ahead mode, in which readers do not wait for a writer, nor it for them.

    SQLite's own timeout does not hold for this: of two that open a new file it refuses one.

    Args:
        connection: to the file.
        patience: seconds to try.

    Raises:
        sqlite3.Error: it is locked for longer, or no database.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(_AGAIN_SECONDS)
        else:
            return
