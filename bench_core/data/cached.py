"""What is made once and kept in a file that appears whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from bench_core.errors import CorruptFileError, SaveError

T = TypeVar("T")


def cached(
    path: Path | None,
    make: Callable[[], T],
    read: Callable[[Path], T],
    write: Callable[[T, Path], None],
) -> T:
    """Return what stands in a file; if there is none, or a damaged one, make and keep it.

    Several processes may do so at once: each makes it, and the last one's file stays.

    Args:
        path: None keeps nothing. Its name must say all that the content depends on.
        make: makes it.
        read: reads it, or raises `CorruptFileError`.
        write: writes it into a new file.

    Raises:
        SaveError: the file cannot be written.
    """
    if path is None:
        return make()
    if path.exists():
        try:
            return read(path)
        except CorruptFileError:
            path.unlink(missing_ok=True)
    made = make()
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(made, temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise SaveError(
            f"{path}: cannot be written ({error}); make room there or choose another folder"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return made
