"""A first benchmark with its experiment, to be copied and changed into one's own."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Final

from harness.errors import InputError

PACKAGE: Final = "my_benchmarks"
SECTIONS: Final = "first.toml"
FILES: Final = (SECTIONS, f"{PACKAGE}/__init__.py", f"{PACKAGE}/first.py")


def write_template(folder: Path) -> list[Path]:
    """Copy the template's files into a folder, which is made if need be.

    Raises:
        InputError: one of the files is there already, or the folder cannot be written.
    """
    source = resources.files(__name__)
    targets = [folder / name for name in FILES]
    for path in targets:
        if path.exists():
            raise InputError(f"{path} exists already; choose another folder")
    try:
        for name, path in zip(FILES, targets, strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(source.joinpath(name).read_bytes())
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}") from error
    return targets
