"""Model files made once and kept: whole, atomic, safe for several processes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from bench_core.errors import SaveError
from bench_core.models.architectures import is_from_transformers
from bench_core.models.catalogue import specs, tensors
from bench_core.models.random_fill import FILL_VERSION


def cached_file(name: str, folder: Path, seed: int = 0) -> Path:
    """Return a safetensors file with ``tensors(name, seed)``, made unless it is there already.

    A file is taken as it is when its header says that it holds this model, of this seed and
    generator, and its size is what the header promises. Else it is written beside and renamed, one
    process at a time in a folder; the others wait and then find it.

    Raises:
        UnknownNameError: there is no such model.
        SaveError: the file cannot be written.
    """
    path = folder / f"{name}-seed{seed}.safetensors"
    wanted = _metadata(name, seed)
    if _is_whole(path, wanted):
        return path
    specs(name)  # an unknown name must not make a folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder) as descriptor:
            if not _is_whole(path, wanted):
                _write(tensors(name, seed), path, wanted)
                os.fsync(descriptor)
    except (OSError, SafetensorError) as error:
        raise SaveError(
            f"{path}: the model file cannot be written ({error}); make room there or choose "
            "another folder"
        ) from error
    return path


def _metadata(name: str, seed: int) -> dict[str, str]:
    """Return what a file's header must say to be taken for this model."""
    library = f"transformers {version('transformers')}" if is_from_transformers(name) else "none"
    return {"model": name, "seed": str(seed), "fill": str(FILL_VERSION), "library": library}


def _is_whole(path: Path, wanted: dict[str, str]) -> bool:
    """Whether the file's header has the wanted metadata and its size is what the header says."""
    try:
        with safe_open(path, framework="pt") as file:  # checks the size against the header
            return dict(file.metadata() or {}) == wanted
    except (OSError, SafetensorError):
        return False


def _write(values: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Write under another name, sync, rename. The name is fixed: the lock has one writer."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        save_file(values, temporary, metadata=metadata)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """Hold the folder's lock, which ends with the process that holds it; gives its descriptor."""
    import fcntl  # not on every platform

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)
