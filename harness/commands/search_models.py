"""The models of a search: a store, or a folder of others' models, which is imported into one."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.errors import InputError
from harness.progress import model_progress

if TYPE_CHECKING:
    from bench_core.snapshots import ImportFailure, Snapshot, SnapshotStore


def models_of(
    folder: Path, architecture: str | None, target: Path
) -> tuple[SnapshotStore, list[str], int]:
    """Return a store, the names of its models that take part, and how many were not imported.

    Args:
        folder: a store, a folder of models in Hugging Face layout, or of files of tensors.
        architecture: of the files of tensors.
        target: the folder in which there is, or will be, a store for each folder of models.

    Raises:
        InputError: it is none of them, or its files are of an architecture that is not named.
    """
    from bench_core.snapshots import Snapshot, SnapshotStore

    if (folder / "models").is_dir() and (folder / "blocks").is_dir():
        if architecture is not None:
            raise InputError(f"{folder}: a store; --architecture is for a folder of tensor files")
        store = SnapshotStore(folder)
        return store, store.names(), 0
    store = SnapshotStore(target)
    found = _imported(store, folder, architecture)
    for item in found:
        if not isinstance(item, Snapshot):
            click.echo(item.reason, err=True)
    names = [item.name for item in found if isinstance(item, Snapshot)]
    if not names:
        raise InputError(_no_models(folder, architecture, len(found)))
    return store, names, len(found) - len(names)


def import_folder_of(own_folder: Path, folder: Path, architecture: str | None) -> Path:
    """Return where the models of a folder are imported to when nobody says."""
    text = f"{folder.resolve()} {architecture or ''}".strip()
    name = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    return own_folder / "imported" / name


def _imported(
    store: SnapshotStore, folder: Path, architecture: str | None
) -> list[Snapshot | ImportFailure]:
    from bench_core.snapshots.imported_sets import import_set, import_state_dicts

    with model_progress("import") as progress:
        if architecture is None:
            return import_set(store, folder, progress)
        return import_state_dicts(store, folder, architecture, progress)


def _no_models(folder: Path, architecture: str | None, n_failed: int) -> str:
    """Say what a folder without any usable model is, and what to give instead."""
    from bench_core.snapshots.imported_sets import TENSOR_FILES, state_files

    if n_failed:
        return f"{folder}: none of {n_failed} models could be imported, for the reasons above"
    if architecture is not None:
        expected = ", ".join(f"*{ending}" for ending in TENSOR_FILES)
        return f"{folder}: none of {expected} in it; --architecture is for a folder of these"
    if state_files(folder):
        return f"{folder}: files of tensors; say of what models with --architecture"
    return (
        f"{folder}: neither a store nor a folder of models in Hugging Face layout; a store is "
        "made by `bench-core snapshots import`"
    )
