"""Import of others' models into a store: Hugging Face folders and plain state dicts.

Equal blocks are kept once, also where models were saved by different hands: a model and its
fine-tuned variants share every block that was frozen.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench_core.errors import BenchCoreError, UnknownNameError
from bench_core.models.chains import chain, family_of
from bench_core.snapshots.conversion import architecture_of, split_state
from bench_core.snapshots.detectors import DETECTORS, backbone_state
from bench_core.snapshots.errors import CorruptBlockError
from bench_core.snapshots.hub_folders import CONFIG, default_name, read_config, resolve
from bench_core.snapshots.manifest import Snapshot
from bench_core.snapshots.sizes import all_blocks
from bench_core.snapshots.store import SnapshotStore
from bench_core.snapshots.weights import read_folder, read_state, weights_files


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


def import_state_dict(
    store: SnapshotStore, path: Path, architecture: str, name: str | None = None
) -> Snapshot:
    """Store a model from one file of tensors; one that is unchanged since is not read again.

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
        ModelExistsError: the store has a model of this name from elsewhere.
    """
    name = name or path.stem
    owner, spec = family_of(architecture), chain(architecture)
    stored, known = _stored(store, name), _file_origin(path)
    before = stored.origin if stored is not None else {}
    if stored is not None and stored.architecture == architecture:
        is_known = all(before.get(key) == value for key, value in known.items())
        if is_known and _has(store, stored):
            return stored
    state = read_state(path)
    configuration = owner.configuration(**owner.configurations[architecture])
    with _naming(path):
        parts = split_state(owner, configuration, spec, state)
    origin = {**known, "unused": list(parts.unused)}
    is_newer = before.get("file") == known["file"]
    return store.add(name, spec, parts.blocks, head=parts.head, origin=origin, replace=is_newer)


def _origin(folder: Path, model_type: str) -> dict[str, Any]:
    """Return where a model comes from, and what shows that its files are the same later."""
    files = [folder / CONFIG, *weights_files(folder)]
    return {
        "folder": str(folder.resolve()),
        "model_type": model_type,
        "files": {path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in files},
    }


def _file_origin(path: Path) -> dict[str, Any]:
    """Return which file a model comes from, and what shows that it is the same later."""
    status = path.stat()
    return {"file": str(path.resolve()), "file_status": [status.st_size, status.st_mtime_ns]}


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
