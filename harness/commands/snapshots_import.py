"""``bench-core snapshots import``: others' models into a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness import exit_codes
from harness.errors import InputError
from harness.progress import model_progress
from harness.units import byte_count

if TYPE_CHECKING:
    from bench_core.snapshots import Snapshot, SnapshotStore


@click.command("import")
@click.argument("source", metavar="FOLDER", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--store",
    "folder",
    metavar="DIR",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The store; it is made if it is not there.",
)
@click.option("--name", help="Name of the model in the store; by default the folder's.")
@click.option(
    "--architecture", help="Of a file of tensors, such as resnet18: FOLDER is that file then."
)
def command(source: Path, folder: Path, name: str | None, architecture: str | None) -> int:
    """Store the model in FOLDER, or all models of a folder of folders.

    FOLDER is in Hugging Face layout (config.json and weights), or holds such folders, or is the
    library's cache. No code in it is executed. Models that are there already and unchanged are
    not read again. Exit code 3 if a model of several could not be imported: a line for each.
    """
    from bench_core.snapshots import SnapshotStore
    from bench_core.snapshots.compare import models_under
    from bench_core.snapshots.imported import import_folder, import_state_dict

    store = SnapshotStore(folder)
    if source.is_file():
        if architecture is None:
            raise InputError(f"{source}: a file of tensors; say of what with --architecture")
        _say(import_state_dict(store, source, architecture, name))
        return exit_codes.FINE
    if architecture is not None:
        raise InputError(f"{source}: a folder; --architecture is for a file of tensors")
    if not models_under(source):
        _say(import_folder(store, source, name))
        return exit_codes.FINE
    if name is not None:
        raise InputError(f"{source}: a folder of models; --name is for one model")
    return _import_set(store, source)


def _import_set(store: SnapshotStore, source: Path) -> int:
    from bench_core.snapshots import Snapshot, total_bytes, unique_bytes
    from bench_core.snapshots.imported_sets import import_set

    with model_progress("import") as progress:
        results = import_set(store, source, progress)
    stored = [result for result in results if isinstance(result, Snapshot)]
    for result in results:
        if isinstance(result, Snapshot):
            _say(result)
        else:
            click.echo(result.reason, err=True)
    click.echo(
        f"{len(stored)} of {len(results)} models imported, {byte_count(total_bytes(stored))}, "
        f"{byte_count(unique_bytes(stored))} of them unique"
    )
    return exit_codes.FINE if len(stored) == len(results) else exit_codes.BROKEN


def _say(snapshot: Snapshot) -> None:
    click.echo(
        f"{snapshot.name}: {snapshot.architecture}, {len(snapshot.blocks)} blocks, "
        f"{byte_count(snapshot.nbytes)}"
    )
