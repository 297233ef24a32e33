"""Sets of others' models for the workloads that search: checkpoints that are imported first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.support.hub_checkpoints import write_checkpoints
from benchmarks.support.model_sets import ModelSet, sets_folder, short_digest
from harness.benchmark import data_dir
from harness.errors import InputError, RefusedError

if TYPE_CHECKING:
    from bench_core.snapshots import SnapshotStore


class Imported(NamedTuple):
    """Models that were imported, and how many could not be."""

    models: ModelSet
    n_failed: int
    whole: Path
    """Folder for the models in a file each: a user's store is only read."""


def check_models(name: str) -> None:
    """Raise where an absolute path is no folder; others are looked for when their case is run.

    Raises:
        InputError: there is no such folder.
    """
    if Path(name).is_absolute() and not Path(name).is_dir():
        raise InputError(f"models {name!r}: no such folder")


def imported(name: str, n_models: int, seed: int) -> Imported:
    """Return the models of a store, or of a folder of checkpoints, which are imported into one.

    Args:
        name: of the folder, which may lie in the data folder; or architectures joined by ``+``, of
            each of which so many checkpoints are written.
        n_models: how many take part, in the order of their names; 0: all.
        seed: of checkpoints that are written.

    Raises:
        RefusedError: there is no such folder, or no model in it.
    """
    from bench_core.snapshots import SnapshotStore

    architectures = name.split("+")
    folder = data_dir() / name
    if all(map(_is_architecture, architectures)):
        folder = data_dir() / "made_checkpoints" / f"{name}-{n_models}-seed{seed}"
        for architecture in architectures:
            write_checkpoints(folder / architecture, architecture, n_models, seed)
        n_models = 0
    if not folder.is_dir():
        raise RefusedError(f"no models in {folder}: put a folder of checkpoints or a store there")
    digest = short_digest(str(folder.resolve()))
    if (folder / "models").is_dir() and (folder / "blocks").is_dir():
        store = SnapshotStore(folder)
        names, n_failed = store.names(), 0
    else:
        store = SnapshotStore(sets_folder() / f"imported-{digest}")
        names, n_failed = _import(store, folder)
    if not names:
        raise RefusedError(f"no models in {folder}, {n_failed} could not be imported")
    models = ModelSet(store, names[: n_models or None])
    return Imported(models, n_failed, sets_folder() / "whole" / digest)


def _import(store: SnapshotStore, folder: Path) -> tuple[list[str], int]:
    """Import what is not imported yet; return the names of all, and how many could not be."""
    from bench_core.snapshots import Snapshot
    from bench_core.snapshots.imported_sets import import_set

    found = import_set(store, folder)
    names = [item.name for item in found if isinstance(item, Snapshot)]
    return names, len(found) - len(names)


def _is_architecture(name: str) -> bool:
    from bench_core.models import chain_names

    return name in chain_names()
