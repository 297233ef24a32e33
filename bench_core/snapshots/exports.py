"""Whole models in a file each, as engines want them that know nothing of blocks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from bench_core import formats
from bench_core.formats import Durability
from bench_core.formats.atomic import size_on_disk, write_atomically
from bench_core.snapshots.folders import make_folder
from bench_core.snapshots.manifest import Snapshot


def is_exported(snapshot: Snapshot, path: Path, format_name: str) -> bool:
    """Whether ``path`` is this model's export, untouched since it was written."""
    try:
        stamp = json.loads(_stamp_path(path).read_bytes())
        return bool(stamp == _stamp(snapshot, path, format_name))
    except (OSError, ValueError):
        return False


def write_export(
    snapshot: Snapshot, state: Mapping[str, torch.Tensor], path: Path, format_name: str
) -> None:
    """Write a model's state dict, and beside it a stamp by which `is_exported` knows it again.

    Raises:
        SaveError: it could not be written.
        UnknownNameError: there is no such format.
        MissingExtraError: the format's library is not installed.
    """
    format_ = formats.get(format_name)
    format_.check_available()
    make_folder(path.parent)
    format_.write(state, path)
    text = json.dumps(_stamp(snapshot, path, format_name)).encode()
    write_atomically(
        _stamp_path(path),
        Durability.RETURN,
        lambda temporary: _write_bytes(temporary, text),
        bytes_logical=len(text),
    )


def _write_bytes(path: Path, text: bytes) -> None:
    path.write_bytes(text)


def _stamp(snapshot: Snapshot, path: Path, format_name: str) -> dict[str, Any]:
    """Return what tells an export: of which blocks, and the file that was written."""
    keys = "\n".join(ref.key for ref in snapshot.blocks)
    return {
        "blocks": hashlib.blake2b(keys.encode(), digest_size=16).hexdigest(),
        "format": format_name,
        "bytes": size_on_disk(path),
        "modified_ns": path.stat().st_mtime_ns,
    }


def _stamp_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.source.json")
