"""Folders whose names outlast a power failure."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from bench_core.errors import SaveError


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; their names are on the device when this returns.

    Raises:
        SaveError: it can't be made.
    """
    if folder.is_dir():
        return
    if folder.parent != folder:
        make_folder(folder.parent)
    try:
        folder.mkdir(exist_ok=True)
        sync_folders([folder.parent])
    except OSError as error:
        raise SaveError(
            f"{folder}: the folder cannot be made, {os.strerror(error.errno or 0)}; choose "
            "another place, or mend this one"
        ) from error


def sync_folders(folders: Iterable[Path]) -> None:
    """Bring the names in these folders to the device.

    Raises:
        OSError: the device failed.
    """
    for folder in folders:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
