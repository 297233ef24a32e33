"""The models that are compared: of a store, of a folder in Hugging Face layout, of one file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from bench_core.errors import UnsupportedError
from bench_core.snapshots.hub_folders import (
    CONFIG,
    Found,
    default_name,
    find_models,
    resolve,
)
from bench_core.snapshots.store import SnapshotStore
from bench_core.snapshots.weights import read_folder, read_state, weights_files


@dataclass(frozen=True)
class Model:
    """A model's tensors by their names, mapped: they are read when they are looked at."""

    name: str
    tensors: Mapping[str, torch.Tensor]
    identities: Mapping[str, str] = field(default_factory=dict)
    """For tensors of a store: equal identities are equal bits, and need not be read."""


def model_in(store: SnapshotStore, name: str) -> Model:
    """Return a model of a store: tensors ``<block>.<name in the block>``, the head's last.

    Raises:
        UnknownNameError: there is none of this name.
        CorruptFileError: its manifest or a block is damaged or missing.
    """
    snapshot = store.snapshot(name)
    places = [(str(index), ref) for index, ref in enumerate(snapshot.blocks)]
    if snapshot.head is not None:
        places.append(("head", snapshot.head))
    tensors, identities = {}, {}
    for place, ref in places:
        store.check_block(ref)
        block = read_state(store.block_path(ref))
        for key in sorted(block, key=natural):
            tensors[f"{place}.{key}"] = block[key]
            identities[f"{place}.{key}"] = f"{ref.key}.{key}"
    return Model(name, tensors, identities)


def model_at(path: Path, name: str | None = None) -> Model:
    """Return the model of a folder in Hugging Face layout, or of one file of tensors.

    The order is that of the names, numbers by their value; what is outside the part that has most
    of the tensors, a head, comes last. Nothing in a pickle is executed.

    Raises:
        FileNotFoundError: there is nothing.
        UnsupportedError: a folder without weights that can be read here.
        UnsafeFileError: a pickle with code in it.
        CorruptFileError: a file is damaged, or a shard missing.
    """
    if path.is_dir():
        state, found = read_folder(resolve(path)), default_name(path)
    else:
        state, found = read_state(path), path.stem
    return Model(name or found, {key: state[key] for key in _ordered(list(state))})


def models_under(folder: Path) -> list[Found]:
    """Return the models in a folder of folders; none if the folder is itself a model.

    Raises:
        UnsupportedError: it is neither.
    """
    if (folder / CONFIG).exists() or (folder / "snapshots").is_dir() or _has_weights(folder):
        return []
    models = find_models(folder)
    if not models:
        raise UnsupportedError(f"{folder}: neither a model nor a folder of models")
    return models


def natural(name: str) -> list[tuple[int, str]]:
    """Return what sorts names with numbers by the numbers' value: layer 2 before layer 10."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def _ordered(names: list[str]) -> list[str]:
    main = main_part(names)
    return sorted(names, key=lambda name: (not name.startswith(main), natural(name)))


def main_part(names: list[str]) -> str:
    """Return the beginning, ``vit.`` or nothing, that most of the names have in common."""
    starts = [name.partition(".")[0] + "." for name in names if "." in name]
    common = max(sorted(set(starts)), key=starts.count, default="")
    return common if 2 * starts.count(common) > len(names) else ""


def _has_weights(folder: Path) -> bool:
    try:
        weights_files(folder)
    except UnsupportedError:
        return False
    return True
