"""Locks between the processes that work on one store; the system lifts those of a dead process."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench_core.errors import SaveError
from bench_core.snapshots.errors import StoreBusyError

PATIENCE_S: Final = 60.0
"""How long a lock is waited for."""

_PAUSE_S: Final = 0.002


@contextmanager
def locked(path: Path, *, shared: bool, patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Hold the lock that the file ``path`` stands for; the file is made where there is none.

    Args:
        path: an empty file in the store's folder, never removed.
        shared: among others who ask for it shared; False keeps everybody else out.
        patience_s: how long to wait for the others, in seconds.

    Raises:
        StoreBusyError: the others held it all that time.
        SaveError: the file can't be made or opened.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise SaveError(
            f"{path}: cannot be opened, {os.strerror(error.errno or 0)}; a store that is written "
            "to needs a folder that this user can write"
        ) from error
    try:
        _acquire(descriptor, path, shared, patience_s)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: Path, shared: bool, patience_s: float) -> None:
    import fcntl  # not on every platform

    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise StoreBusyError(
                    f"{path.parent}: other processes have been at work on this store for "
                    f"{patience_s:.0f} s; try again when they are done"
                ) from None
        time.sleep(_PAUSE_S)
