"""A folder for files that are written to be timed, and removed with them."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench_core.errors import SaveError


@contextlib.contextmanager
def scratch_folder(directory: Path) -> Iterator[Path]:
    """Give a new folder in ``directory``, and remove it with all that is in it.

    Raises:
        SaveError: ``directory`` cannot be written to.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix="writes-", dir=directory))
    except OSError as error:
        raise SaveError(
            f"{directory}: cannot be written to ({error.strerror}); choose another folder"
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
