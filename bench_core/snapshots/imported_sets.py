"""Import of many models at once: those that cannot be imported do not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench_core.errors import BenchCoreError, SaveError
from bench_core.models.chains import family_of
from bench_core.snapshots.errors import StoreBusyError
from bench_core.snapshots.hub_folders import Found, find_models
from bench_core.snapshots.imported import import_folder, import_state_dict
from bench_core.snapshots.manifest import Snapshot
from bench_core.snapshots.store import SnapshotStore

Progress = Callable[[int, int, str], None]
"""Called with models done, models in all, and the name of the one that is next."""

TENSOR_FILES: Final = (".safetensors", ".pt", ".pth", ".bin")
"""Endings of files of tensors; all but the first are files of `torch.save`, read without code."""


@dataclass(frozen=True)
class ImportFailure:
    """A model of a set that could not be imported."""

    name: str
    folder: Path
    """Or its file of tensors."""
    reason: str
    """One line, which names the folder or file."""


def import_set(
    store: SnapshotStore, folder: Path, progress: Progress | None = None
) -> list[Snapshot | ImportFailure]:
    """Store all models of a folder of folders; those that cannot be imported do not stop it.

    Interrupted, it goes on with the next model when it is called again.

    Args:
        store: where they go.
        folder: of folders in Hugging Face layout, of organisations with such folders, or the
            library's cache (``hub``).
        progress: called before each model and at the end.

    Returns:
        For each model, in the order of their names, what was stored, or why it was not.

    Raises:
        SaveError: the disk is full or can't be written.
        StoreBusyError: the store is being cleaned, and that does not end.
    """
    return _import_each(
        find_models(folder),
        lambda model: import_folder(store, model.folder, model.name),
        progress,
    )


def import_state_dicts(
    store: SnapshotStore, folder: Path, architecture: str, progress: Progress | None = None
) -> list[Snapshot | ImportFailure]:
    """Store all models of a folder of files of tensors; failures do not stop it.

    Args:
        store: where they go, by their files' names without the ending.
        folder: with files in it that end as `TENSOR_FILES` says; others and folders are passed
            over.
        architecture: of all of them: see `import_state_dict`.
        progress: called before each model and at the end.

    Returns:
        For each file, in the order of their names, what was stored, or why it was not.

    Raises:
        UnknownNameError: there is no such architecture.
        SaveError: the disk is full or can't be written.
        StoreBusyError: the store is being cleaned, and that does not end.
    """
    family_of(architecture)
    return _import_each(
        [Found(path.stem, path) for path in state_files(folder)],
        lambda model: import_state_dict(store, model.folder, architecture, model.name),
        progress,
    )


def state_files(folder: Path) -> list[Path]:
    """Return the files of tensors in a folder, in the order of their names; hidden ones are none.

    Their endings are `TENSOR_FILES`; folders within it are not looked into.
    """
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix in TENSOR_FILES and path.is_file() and not path.name.startswith(".")
    )


def _import_each(
    models: Sequence[Found], store_one: Callable[[Found], Snapshot], progress: Progress | None
) -> list[Snapshot | ImportFailure]:
    """Store one model after the other, and go on after those that cannot be."""
    results: list[Snapshot | ImportFailure] = []
    for index, model in enumerate(models):
        if progress is not None:
            progress(index, len(models), model.name)
        try:
            results.append(store_one(model))
        except (SaveError, StoreBusyError):
            raise  # it is the store's, and will be the next model's, too
        except BenchCoreError as error:
            place, reason = str(model.folder), str(error)
            # One of the store's names the store's own file, and not whose model it is about.
            line = reason if place in reason else f"{place}: {reason}"
            results.append(ImportFailure(model.name, model.folder, line))
        except OSError as error:
            if error.filename is None or not Path(error.filename).is_relative_to(model.folder):
                raise
            reason = f"{error.filename}: {error.strerror}"
            results.append(ImportFailure(model.name, model.folder, reason))
    if progress is not None:
        progress(len(models), len(models), "")
    return results
