"""Puts a report's files into their folder, and takes away those of the report before it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from harness.errors import InputError
from harness.report import fields

MANIFEST: Final = "report.json"
"""Lists the files that belong to the report: only these are ever replaced or removed."""


def publish(staging: Path, folder: Path) -> tuple[Path, ...]:
    """Move all files of ``staging`` to their places in ``folder``, on the same file system.

    The manifest names the files of both reports until all is done, so that a report that was
    interrupted here can be replaced by the next one.

    Raises:
        InputError: a file would be overwritten that belongs to no report.
    """
    earlier = _manifest(folder)
    names = sorted(str(path.relative_to(staging)) for path in staging.rglob("*") if path.is_file())
    for name in names:
        if (folder / name).exists() and name not in earlier:
            raise InputError(
                f"{folder / name} exists and belongs to no report; choose another folder by --out"
            )
    _write_manifest(folder, {*earlier, *names})
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (staging / name).replace(folder / name)
    for name in set(earlier) - set(names):
        (folder / name).unlink(missing_ok=True)
    _write_manifest(folder, names)
    return tuple(folder / name for name in names)


def _manifest(folder: Path) -> list[str]:
    """Return the files of the report that lies in the folder, if one does."""
    path = folder / MANIFEST
    if not path.exists():
        return []
    content = fields.as_mapping(fields.read_json(path), str(path))
    names = [Path(str(name)) for name in fields.sequence(content, "files", str(path))]
    # Whoever can edit the manifest must not make the next report remove other files.
    return [str(name) for name in names if ".." not in name.parts and not name.is_absolute()]


def _write_manifest(folder: Path, names: Iterable[str]) -> None:
    content = json.dumps({"generator": "bench-core report", "files": sorted(names)}, indent=1)
    temporary = folder / f".{MANIFEST}.{os.getpid()}"
    temporary.write_text(content + "\n", encoding="utf-8")
    temporary.replace(folder / MANIFEST)
