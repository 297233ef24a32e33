"""Files that are published, kept and found by their names: hard links, and marks of who made them.

A file of a model is named ``<model>+<mark>+<kind>``, its temporaries are hidden and named after it;
the mark tells what a dead process left from what another is just writing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench_core.errors import BenchCoreError, SaveError
from bench_core.formats import Durability
from bench_core.formats.atomic import remove
from bench_core.snapshots.folders import make_folder, sync_folders
from bench_core.weight_transfer.errors import StoreError

_SEPARATOR: Final = "+"


@dataclass(frozen=True)
class Entry:
    """A file of a folder, of weights or not yet, or a pin."""

    path: Path
    model: int
    mark: str
    """Of the process that made it, see `bench_core.formats.atomic.is_dead`."""
    kind: str
    """What it is, with whatever a writer put behind the name of its temporary."""
    is_finished: bool
    """False for the temporary of a write."""


def entry_name(model: int, mark: str, kind: str = "") -> str:
    """Return the name of a file of a model that tells who made it."""
    return _SEPARATOR.join((str(model), mark, kind))


def entries(folder: Path) -> Iterator[Entry]:
    """Give the files of a folder that are named by `entry_name`, temporaries of theirs too."""
    with os.scandir(folder) as listed:
        names = [entry.name for entry in listed]
    for name in names:
        parts = name.removeprefix(".").split(_SEPARATOR, 2)
        if len(parts) == 3 and parts[0].isdecimal():
            model, mark, kind = parts
            yield Entry(folder / name, int(model), mark, kind, not name.startswith("."))


def remove_name(path: Path) -> bool:
    """Remove one name of a file; return whether it was the last: False where others keep it."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        path.unlink()
        return os.fstat(descriptor).st_nlink == 0
    except FileNotFoundError:  # somebody else was faster, and says so
        return False
    finally:
        os.close(descriptor)


def remove_entries(stale: Iterable[Entry]) -> None:
    """Remove files, and scratch folders of libraries.

    Raises:
        StoreError: one can't be removed.
    """
    for entry in stale:
        with as_store_error(entry.path):
            remove(entry.path)


def link_new(path: Path, aside: Path, content: bytes, durability: Durability) -> None:
    """Let a file appear whole under a name that nothing has.

    Args:
        path: the name.
        aside: an unused name on the same file system, for as long as this takes.
        content: of the file.
        durability: how far content and name have come when this returns.

    Raises:
        FileExistsError: something has the name; it stays.
        OSError: it failed, and there is no such file.
    """
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            if durability is not Durability.RETURN:
                os.fsync(file.fileno())
        os.link(aside, path)
        sync_names(path.parent, durability)
    except FileExistsError:
        raise
    except BaseException:
        if _is_same(aside, path):
            path.unlink()
        raise
    finally:
        aside.unlink(missing_ok=True)


def sync_names(folder: Path, durability: Durability) -> None:
    """Bring the names in a folder to the device, as far as a durability asks for it."""
    if durability is Durability.FSYNC_DIR:
        sync_folders([folder])
    elif durability is Durability.GLOBAL_SYNC:
        os.sync()


def make_store_folder(folder: Path) -> None:
    """Make a folder whose name outlasts a power failure.

    Raises:
        StoreError: it can't be made.
    """
    try:
        make_folder(folder)
    except SaveError as error:
        raise StoreError(str(error)) from error


@contextmanager
def as_store_error(path: Path) -> Iterator[None]:
    """Tell in one line what the file system has against what is done at ``path``."""
    try:
        yield
    except BenchCoreError:
        raise
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise StoreError(
            f"{path}: {reason}; the folder must be writable, on a file system with hard links"
        ) from error


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
