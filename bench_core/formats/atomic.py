"""Files and folders that appear whole or not at all: temporary beside, durability, rename."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from bench_core.errors import BenchCoreError, SaveError, UnsupportedError
from bench_core.formats.base import Durability, WriteResult

_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2
_MAXIMUM_NAME: Final = 255
_LONGEST_REASON: Final = 300
_SCRATCH_SUFFIX: Final = ".d"
_DEAD_STATES: Final = ("Z", "X")
"""Zombies too: where nobody waits for its children, they stay."""
_MARK: Final = re.compile(r"(?P<host>.+)\.(?P<pid>\d+)\.(?P<start>[0-9a-f]+)-[0-9a-f]+")

_ADVICE: Final = {
    errno.ENOSPC: "free space on the file system, or write elsewhere",
    errno.EDQUOT: "the quota is used up: free space, or write elsewhere",
    errno.EFBIG: "the file system or `ulimit -f` allows no larger file",
    errno.EACCES: "the folder is not writable for this user: change it, or write elsewhere",
    errno.EPERM: "the folder does not allow new files: change it, or write elsewhere",
    errno.EROFS: "the file system is mounted read-only: write elsewhere",
    errno.ENAMETOOLONG: "choose a shorter file name",
    errno.EIO: "the device failed: see the kernel's log",
}


def write_atomically(
    path: Path,
    durability: Durability,
    write: Callable[[Path], None],
    *,
    bytes_logical: int,
    library_errors: tuple[type[Exception], ...] = (),
    marker: str | None = None,
) -> WriteResult:
    """Let ``write`` fill a temporary file or folder, then put it in the place of ``path``.

    The temporary lies in the folder of ``path``. Whatever is at ``path`` stays untouched until
    the rename, also for readers that have it mapped. A symbolic link at ``path`` is replaced, not
    followed. Temporaries left behind by dead writers of the same ``path`` are removed first.

    Args:
        path: the file or folder to appear; its parent must exist.
        durability: how far the bytes must have come before this call returns.
        write: is given the temporary path, at which nothing exists yet.
        bytes_logical: for the result.
        library_errors: what ``write`` raises, beside `OSError`, when the storage fails.
        marker: for formats that are a folder, a file that each such folder has: a folder at
            ``path`` is replaced only if it has it too, or is empty. None: the format is a file.

    Raises:
        SaveError: the write failed, and nothing was replaced; or, as its text then says, it was
            written and is not known to be durable: a sync after the rename failed.
    """
    started = time.perf_counter_ns()
    with _as_save_error(path, library_errors):
        _check_target(path, marker)
        remove_stale(path)
        temporary = temporary_beside(path)
        try:
            write(temporary)
            returned = time.perf_counter_ns()
            bytes_physical = size_on_disk(temporary)
            publish(temporary, path, durability)
        except BaseException:
            with suppress(OSError):
                remove(temporary)
            raise
    durable = time.perf_counter_ns()
    return WriteResult(
        path=path,
        bytes_logical=bytes_logical,
        bytes_physical=bytes_physical,
        return_ns=(durable if durability is Durability.RETURN else returned) - started,
        durable_ns=durable - started,
    )


def temporary_beside(path: Path) -> Path:
    """Return an unused name in the folder of ``path``, marked with this host and process."""
    name = f".{path.name}.{writer_mark()}.tmp"
    if len(os.fsencode(name)) > _MAXIMUM_NAME:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), str(path))
    return path.with_name(name)


@contextmanager
def scratch_folder(temporary: Path) -> Iterator[Path]:
    """Make a folder beside a temporary for what a library drops on its way; removed at the end."""
    folder = temporary.with_name(temporary.name + _SCRATCH_SUFFIX)
    folder.mkdir()
    try:
        yield folder
    finally:
        remove(folder)


def publish(temporary: Path, path: Path, durability: Durability) -> None:
    """Make a finished temporary durable and rename it to ``path``, in one step for any reader.

    A folder that replaces a folder is exchanged with it (``renameat2(RENAME_EXCHANGE)``), and the
    old one is removed afterwards.

    Raises:
        OSError: the device, the rename or the sync before it failed; nothing was replaced.
        UnsupportedError: ``path`` is an existing folder and this system cannot exchange folders.
        SaveError: what failed came after the rename: ``path`` has the new content.
    """
    if durability is not Durability.RETURN:
        _sync_content(temporary, durability)
    _rename(temporary, path)
    with _as_save_error(path, (), outcome="written, not known to be durable"):
        if durability is Durability.FSYNC_DIR:
            _sync(path.parent, os.fsync)
        elif durability is Durability.GLOBAL_SYNC:
            os.sync()
        remove(temporary)


def remove_stale(path: Path) -> None:
    """Remove the temporaries of ``path`` whose writer on this host is dead."""
    prefix = f".{path.name}."
    with os.scandir(path.parent) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(prefix)]
    for name in names:
        temporary = name.removesuffix(_SCRATCH_SUFFIX)
        mark = temporary[len(prefix) :].removesuffix(".tmp")
        if temporary.endswith(".tmp") and is_dead(mark):
            remove(path.with_name(name))


def writer_mark() -> str:
    """Return a new name for unfinished work that tells this host and process: see `is_dead`."""
    pid = os.getpid()
    return f"{socket.gethostname()}.{pid}.{_process_state(pid)[1]:x}-{secrets.token_hex(4)}"


def is_dead(mark: str) -> bool:
    """Return whether a mark was made on this host by a process that no longer runs.

    A container that restarts gives the same process id again, hence the start time in the mark.
    Containers that share a host name must not write to one path: they do not see each other.
    """
    match = _MARK.fullmatch(mark)
    if match is None or match["host"] != socket.gethostname():
        return False
    pid = int(match["pid"])
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass
    state, start_time = _process_state(pid)
    return state in _DEAD_STATES or start_time not in (int(match["start"], 16), 0)


def remove(path: Path) -> None:
    """Remove a file or a whole folder; one that is not there, or goes meanwhile, is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def size_on_disk(path: Path) -> int:
    """Return the size of a file, or of all files of a folder, in bytes."""
    return sum(file.stat().st_size for file in _files(path))


def one_line(error: Exception) -> str:
    """Return the text of an error of a library as one line of bearable length."""
    text = " ".join(str(error).split())
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]} …"


@contextmanager
def _as_save_error(
    path: Path, library_errors: tuple[type[Exception], ...], outcome: str = "not written"
) -> Iterator[None]:
    """Turn what the storage or a library raises into one line about ``path`` and its state."""
    try:
        yield
    except BenchCoreError:  # some are RuntimeError too, which a library may raise
        raise
    except OSError as error:
        # Not `strerror`: libraries put their own story there, of many lines.
        reason = os.strerror(error.errno) if error.errno else one_line(error)
        advice = _ADVICE.get(error.errno or 0)
        raise SaveError(
            f"{path}: {outcome}, {reason}" + (f"; {advice}" if advice else "")
        ) from error
    except library_errors as error:
        reason = one_line(error)
        free = shutil.disk_usage(path.parent).free
        raise SaveError(
            f"{path}: {outcome}, {reason} ({free} bytes are free on the file system)"
        ) from error


def _check_target(path: Path, marker: str | None) -> None:
    """Refuse before the write what the rename would refuse, or would destroy, after it."""
    if not path.parent.is_dir():
        raise SaveError(f"{path}: not written, there is no such folder; create the folder first")
    if marker is None and path.is_dir():
        raise SaveError(f"{path}: not written, a folder of this name exists; choose another name")
    if marker is None or not path.exists():
        return
    if not path.is_dir():
        raise SaveError(f"{path}: not written, a file of this name exists; choose another name")
    if not (path / marker).is_file() and any(path.iterdir()):
        raise SaveError(
            f"{path}: not written, the folder there is no model of this format (it has no "
            f"{marker}) and would be lost; choose another name"
        )


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for folder, _, names in os.walk(path):
        for name in names:
            yield Path(folder, name)


def _sync_content(path: Path, durability: Durability) -> None:
    """Sync every file, and the folders inside a folder, before the rename makes them visible."""
    if durability is Durability.FDATASYNC:
        sync, folders = getattr(os, "fdatasync", os.fsync), []
    else:
        sync, folders = os.fsync, [folder for folder, _, _ in os.walk(path)]
    for file in _files(path):
        _sync(file, sync)
    for folder in folders:
        _sync(Path(folder), os.fsync)


def _sync(path: Path, sync: Callable[[int], None]) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def _rename(temporary: Path, path: Path) -> None:
    try:
        temporary.replace(path)
    except OSError as error:
        # Tried first and not asked for: another writer's folder may appear at any moment.
        in_the_way = error.errno in (errno.ENOTEMPTY, errno.EEXIST) or path.is_symlink()
        if not (temporary.is_dir() and in_the_way):
            raise
        _exchange(temporary, path)


def _exchange(first: Path, second: Path) -> None:
    """Swap two names in one step."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        raise UnsupportedError(
            f"{second}: this system cannot exchange folders; remove the old one first"
        )
    names = os.fsencode(first), os.fsencode(second)
    if renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        return
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS):
        raise UnsupportedError(
            f"{second}: this file system cannot exchange folders; remove the old one first"
        )
    raise OSError(code, os.strerror(code), str(second))


def _process_state(pid: int) -> tuple[str, int]:
    """Return a process's state and its start in clock ticks since boot; 0 where no ``/proc``."""
    try:
        status = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return "", 0
    # The second field is the command in brackets and may hold blanks and brackets itself.
    fields = status.rpartition(b")")[2].split()
    return fields[0].decode(), int(fields[19])
