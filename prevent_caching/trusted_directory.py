"""Open the directory that the watcher serves, after judging who else may write there."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from prevent_caching.errors import PreventCachingError


class DirectoryRefused(PreventCachingError):
    """The watcher does not serve this directory; the text says why and what to do."""


def open_trusted(path: Path) -> int:
    """Return a descriptor of directory `path` that this process alone serves.

    All later access goes through the descriptor, so that replacing the path changes nothing. The
    lock on it is released with the descriptor, also when the process is killed.

    Raises:
        DirectoryRefused: missing, a link, writable by all and not owned or not sticky, or served
            by another watcher.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise DirectoryRefused(f"{path} does not exist: mkdir -m 0770 {path}") from None
    except NotADirectoryError:
        raise DirectoryRefused(f"{path} is not a directory, or is a symbolic link") from None
    except OSError as error:
        raise DirectoryRefused(f"{path} cannot be opened: {error.strerror}") from None
    try:
        _require_trust(path, os.fstat(descriptor))
        _lock(path, descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _require_trust(path: Path, status: os.stat_result) -> None:
    """Refuse a directory in which any user could forge answers, or whose owner could."""
    if not status.st_mode & stat.S_IWOTH:
        return
    if status.st_uid != os.geteuid():
        raise DirectoryRefused(
            f"{path} is writable by all users and owned by user {status.st_uid}, not by user "
            f"{os.geteuid()} who watches it: give it its own directory with mode 0770"
        )
    if not status.st_mode & stat.S_ISVTX:
        raise DirectoryRefused(
            f"{path} is writable by all users without the sticky bit, so that any user could "
            f"replace answers: chmod 0770 {path}, or 1777"
        )


def _lock(path: Path, descriptor: int) -> None:
    # Not on every platform: imported where it is used, so that this module always can be.
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DirectoryRefused(f"another watcher already serves {path}") from None
    except OSError as error:
        raise DirectoryRefused(f"{path} cannot be locked: {error.strerror}") from None
