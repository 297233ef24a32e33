"""Writing a whole model in one call, or each of its tensors in a file of its own."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from bench_core import formats
from bench_core.errors import UnknownNameError, UnsupportedError, nearest
from bench_core.formats import Durability, Tensors, WriteResult
from bench_core.storage_writes.staging import Staging


def save(
    module_or_tensors: nn.Module | Tensors,
    path: Path | str,
    *,
    durability: Durability | str = Durability.FSYNC_DIR,
    format: str = "direct",
) -> WriteResult:
    """Write a module's state dict, or named tensors, to ``path``: whole or not at all.

    The file at ``path``, if there is one, stays as it is until the new one is as durable as
    asked for and takes its name. CUDA tensors come to the host through pinned memory of their own
    size (torch keeps it for the next call), with one synchronisation. Tied weights are stored
    under each of their names.

    Args:
        module_or_tensors: a module, or a mapping of names to tensors.
        path: where to write; the folder must exist.
        durability: how far the bytes have come when the call returns: ``return``, ``fdatasync``,
            ``fsync``, ``fsync_dir`` or ``global_sync``.
        format: a name in `bench_core.formats.names`. The default writes safetensors files.

    Returns:
        The bytes and the two times, both from this call on, copies from a device included.

    Raises:
        SaveError: the write failed (full disk, read-only folder) and nothing was replaced, unless
            the text says that it was written ("written, not known to be durable").
        UnknownNameError: there is no such format or durability.
        UnsupportedError: something in the mapping is not a dense tensor with data.

    Example:
        >>> import torch
        >>> from bench_core.storage_writes import save
        >>> model = torch.nn.Linear(1000, 1000)
        >>> result = save(model, "linear.safetensors", durability="fsync_dir")
        >>> result.bytes_logical
        4004000
    """
    started = time.perf_counter_ns()
    level = durability_of(durability)
    writer = formats.get(format)
    tensors = tensors_of(module_or_tensors)
    if any(tensor.is_cuda for tensor in tensors.values()):
        tensors = Staging().copy(tensors)
    before_write = time.perf_counter_ns() - started
    result = writer.write(tensors, Path(path), level)
    return dataclasses.replace(
        result,
        return_ns=before_write + result.return_ns,
        durable_ns=before_write + result.durable_ns,
    )


def save_each_tensor(
    module_or_tensors: nn.Module | Tensors,
    folder: Path | str,
    *,
    durability: Durability | str = Durability.FSYNC_DIR,
    format: str = "direct",
) -> WriteResult:
    """Write each tensor to a file of its own in ``folder``, one after the other, each made durable.

    What a writer that does not coalesce costs: one file, one device synchronisation and one
    durability point per tensor. Files are ``000000.<suffix>``, … in the mapping's order.

    Returns:
        The sums over the files; ``path`` is the folder.

    Raises:
        As `save`; files before the failing one stay.
    """
    tensors = tensors_of(module_or_tensors)
    paths = each_tensor_paths(tensors, Path(folder), format)
    results = [
        save({name: tensor}, paths[name], durability=durability, format=format)
        for name, tensor in tensors.items()
    ]
    return WriteResult(
        path=Path(folder),
        bytes_logical=sum(result.bytes_logical for result in results),
        bytes_physical=sum(result.bytes_physical for result in results),
        return_ns=sum(result.return_ns for result in results),
        durable_ns=sum(result.durable_ns for result in results),
    )


def each_tensor_paths(tensors: Tensors, folder: Path, format: str) -> dict[str, Path]:
    """Return the file of each tensor that `save_each_tensor` writes."""
    suffix = formats.get(format).suffix
    return {name: folder / f"{i:06d}{suffix}" for i, name in enumerate(tensors)}


def tensors_of(module_or_tensors: nn.Module | Mapping[str, object]) -> dict[str, torch.Tensor]:
    """Return the tensors to save.

    Raises:
        UnsupportedError: a value is something else.
    """
    values: Mapping[str, object] = (
        module_or_tensors.state_dict()
        if isinstance(module_or_tensors, nn.Module)
        else module_or_tensors
    )
    tensors: dict[str, torch.Tensor] = {}
    for name, value in values.items():
        if not isinstance(value, torch.Tensor):
            raise UnsupportedError(
                f"{name!r} is a {type(value).__name__}, not a tensor; give a flat mapping of names "
                "to tensors"
            )
        tensors[name] = value
    return tensors


def durability_of(level: Durability | str) -> Durability:
    """Return the level called ``level``.

    Raises:
        UnknownNameError: there is none.
    """
    try:
        return Durability(level)
    except ValueError:
        known = [member.value for member in Durability]
        raise UnknownNameError(
            f"unknown durability {level!r}; expected one of {', '.join(known)}"
            f"{nearest(str(level), known)}"
        ) from None
