"""Loading tensors that lie in many files, each known by its owner: the file that holds it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch

from bench_core.errors import CorruptFileError
from bench_core.formats.base import Reader
from bench_core.formats.direct import workers
from bench_core.formats.direct.plan import Request
from bench_core.formats.direct.reader import PositionedReader
from bench_core.layer_loading.policies import open_reader

FILES_AT_ONCE: Final = 64
"""Files open at a time: far below the usual limit of descriptors."""


def load_scattered(
    owner_map: Mapping[str, Path | str], *, policy: str = "auto"
) -> dict[str, torch.Tensor]:
    """Return tensors that lie in different files, each file opened once and all read in parallel.

    Args:
        owner_map: name of a tensor to the file that holds it under that name.
        policy: as for `bench_core.layer_loading.load`, to the host; ``auto`` chooses file by file.

    Returns:
        The tensors, in the order of ``owner_map``.

    Raises:
        FileNotFoundError, TensorNotFoundError, CorruptFileError: as `load`, for any of the files.

    Example:
        >>> from bench_core.layer_loading import load_scattered
        >>> tensors = load_scattered({"embedding": "first.safetensors", "head": "last.safetensors"})
    """
    by_file: dict[Path, list[str]] = {}
    for name, path in owner_map.items():
        by_file.setdefault(Path(path), []).append(name)
    paths = list(by_file)
    tensors: dict[str, torch.Tensor] = {}
    for i in range(0, len(paths), FILES_AT_ONCE):
        some = {path: by_file[path] for path in paths[i : i + FILES_AT_ONCE]}
        tensors.update(_load(some, policy))
    return {name: tensors[name] for name in owner_map}


def read_index(path: Path) -> dict[str, Path]:
    """Return the owner map of a sharded checkpoint from its ``*.safetensors.index.json``.

    Raises:
        CorruptFileError: no such index, or one that points outside its own folder.

    Example:
        >>> tensors = load_scattered(read_index(folder / "model.safetensors.index.json"))
    """
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        owners = {name: path.parent / file for name, file in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptFileError(
            f"{path}: no index of a sharded checkpoint, an object 'weight_map' of file names "
            f"expected ({type(error).__name__}: {error})"
        ) from error
    for name, file in owners.items():
        if file.parent != path.parent:
            raise CorruptFileError(f"{path}: the file of {name!r}, {file}, is not in its folder")
    return owners


def _load(by_file: Mapping[Path, list[str]], policy: str) -> dict[str, torch.Tensor]:
    readers: dict[Path, Reader] = {}

    def open_one(path: Path) -> None:
        readers[path], _ = open_reader(path, by_file[path], policy, lazy=True, on_host=True)

    try:
        workers.run(by_file, open_one)
        return _read({readers[path]: names for path, names in by_file.items()})
    finally:
        for reader in readers.values():
            reader.close()


def _read(wanted: Mapping[Reader, list[str]]) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    requests: list[tuple[PositionedReader, Request]] = []
    for reader, names in wanted.items():
        if isinstance(reader, PositionedReader):
            prepared, its_requests = reader.prepare(names)
            tensors.update(prepared)
            requests += [(reader, request) for request in its_requests]
        else:
            tensors.update(reader.read(names))
    workers.run(requests, lambda job: job[0].perform(job[1]))
    return tensors
