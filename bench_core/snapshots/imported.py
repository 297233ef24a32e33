"""Import of others' models into a store: Hugging Face folders, sets of them, plain state dicts.

Equal blocks are kept once, also where models were saved by different hands: a model and its
fine-tuned variants share every block that was frozen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench_core.errors import BenchCoreError, SaveError, UnknownNameError
from bench_core.models.chains import chain, family_of
from bench_core.snapshots.conversion import architecture_of, split_state
from bench_core.snapshots.detectors import DETECTORS, backbone_state
from bench_core.snapshots.errors import CorruptBlockError, StoreBusyError
from bench_core.snapshots.hub_folders import (
    CONFIG,
    default_name,
    find_models,
    read_config,
    resolve,
)
from bench_core.snapshots.manifest import Snapshot
from bench_core.snapshots.sizes import all_blocks
from bench_core.snapshots.store import SnapshotStore
from bench_core.snapshots.weights import read_folder, read_state, weights_files

Progress = Callable[[int, int, str], None]
"""Called with models done, models in all, and the name of the one that is next."""


@dataclass(frozen=True)
class ImportFailure:
    """A model of a set that could not be imported."""

    name: str
    folder: Path
    reason: str
    """One line, which names the folder."""


def import_folder(store: SnapshotStore, folder: Path, name: str | None = None) -> Snapshot:
    """Store the model of a folder in Hugging Face layout; nothing in it is executed.

    Half precision is widened to float32, which changes no value: searches compute in float32. Of a
    detection model the ResNet is stored. A folder that was imported and is unchanged since (sizes
    and times of its files) is not read again; one that changed replaces its model.

    Args:
        store: where it goes.
        folder: with ``config.json`` and weights, or a repository of Hugging Face's cache.
        name: of the model in the store; by default the folder's.

    Raises:
        UnsupportedError: a model type, configuration or file that is not supported.
        TensorNotFoundError: a tensor of the model is missing.
        TensorMismatchError: a tensor's shape is not what the configuration says.
        UnsafeFileError: the weights are a pickle with code in it.
        CorruptFileError: a file is damaged, or a shard missing.
        ModelExistsError: the store has a model of this name from elsewhere.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     import_folder(SnapshotStore(Path(folder, "store")), Path(folder))
        Traceback (most recent call last):
        ...
        bench_core.errors.UnsupportedError: ...: no config.json, so no model in Hugging Face layout
    """
    name = name or default_name(folder)
    folder = resolve(folder)
    with _naming(folder):
        content = read_config(folder)
        owner, configuration, spec = architecture_of(content)
        known, stored = _origin(folder, content["model_type"]), _stored(store, name)
        before = stored.origin if stored is not None else {}
        is_known = all(before.get(key) == value for key, value in known.items())
        if stored is not None and is_known and _has(store, stored):
            return stored
        state = read_folder(folder)
        if content["model_type"] in DETECTORS:
            state = backbone_state(state)
        parts = split_state(owner, configuration, spec, state)
        origin = {**known, "unused": list(parts.unused)}
        is_newer = before.get("folder") == known["folder"]
        return store.add(name, spec, parts.blocks, head=parts.head, origin=origin, replace=is_newer)


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
    models = find_models(folder)
    results: list[Snapshot | ImportFailure] = []
    for index, model in enumerate(models):
        if progress is not None:
            progress(index, len(models), model.name)
        try:
            results.append(import_folder(store, model.folder, model.name))
        except (SaveError, StoreBusyError):
            raise  # it is the store's, and will be the next model's, too
        except BenchCoreError as error:
            results.append(ImportFailure(model.name, model.folder, str(error)))
        except OSError as error:
            if error.filename is None or not Path(error.filename).is_relative_to(model.folder):
                raise
            reason = f"{error.filename}: {error.strerror}"
            results.append(ImportFailure(model.name, model.folder, reason))
    if progress is not None:
        progress(len(models), len(models), "")
    return results


def import_state_dict(
    store: SnapshotStore, path: Path, architecture: str, name: str | None = None
) -> Snapshot:
    """Store a model from one file of tensors.

    Args:
        store: where it goes.
        path: ``*.safetensors``, or a file of `torch.save`, which is read without executing code.
            Names are the library's, torchvision's or timm's for ResNets, or those that
            `SnapshotStore.export` gives.
        architecture: one of `bench_core.models.chain_names`.
        name: of the model in the store; by default the file's, without its ending.

    Raises:
        UnknownNameError: there is no such architecture.
        TensorNotFoundError: a tensor of the model is missing.
        TensorMismatchError: a tensor's shape is not what the architecture says.
        UnsafeFileError: a pickle with code in it.
        CorruptFileError: the file is damaged.
        ModelExistsError: the store has another model of this name.
    """
    owner, spec = family_of(architecture), chain(architecture)
    state = read_state(path)
    configuration = owner.configuration(**owner.configurations[architecture])
    with _naming(path):
        parts = split_state(owner, configuration, spec, state)
    origin = {"file": str(path.resolve()), "unused": list(parts.unused)}
    return store.add(name or path.stem, spec, parts.blocks, head=parts.head, origin=origin)


def _origin(folder: Path, model_type: str) -> dict[str, Any]:
    """Return where a model comes from, and what shows that its files are the same later."""
    files = [folder / CONFIG, *weights_files(folder)]
    return {
        "folder": str(folder.resolve()),
        "model_type": model_type,
        "files": {path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in files},
    }


def _stored(store: SnapshotStore, name: str) -> Snapshot | None:
    try:
        return store.snapshot(name)
    except UnknownNameError:
        return None


def _has(store: SnapshotStore, snapshot: Snapshot) -> bool:
    """Whether all blocks of a stored model are there."""
    try:
        for ref in all_blocks(snapshot):
            store.check_block(ref)
    except CorruptBlockError:
        return False
    return True


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Have errors name the folder or file that they are about."""
    try:
        yield
    except BenchCoreError as error:
        if str(path) in str(error):
            raise
        raise type(error)(f"{path}: {error}") from error
