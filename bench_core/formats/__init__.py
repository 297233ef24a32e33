"""On-disk formats of models, one file per format, found by name."""

from __future__ import annotations

import importlib
from typing import Final

from bench_core.errors import UnknownNameError, nearest
from bench_core.formats.base import (
    Durability,
    Format,
    Reader,
    Tensors,
    TensorSpec,
    WriteResult,
)

__all__ = [
    "Durability",
    "Format",
    "Reader",
    "TensorSpec",
    "Tensors",
    "WriteResult",
    "get",
    "names",
    "writers",
]

# Modules are imported when a format is asked for: most need a library that is an extra.
_CLASSES: Final = {
    "direct": "bench_core.formats.direct:Direct",
    "torch": "bench_core.formats.torch_zip:TorchZip",
    "torch_no_crc": "bench_core.formats.torch_zip:TorchZipNoCrc",
    "torch_mmap": "bench_core.formats.torch_zip:TorchZipMmap",
    "safetensors": "bench_core.formats.safetensors_file:SafetensorsMmap",
    "safetensors_pread": "bench_core.formats.safetensors_file:SafetensorsPread",
    "hdf5": "bench_core.formats.hdf5:Hdf5",
    "npz": "bench_core.formats.npz:Npz",
    "lmdb": "bench_core.formats.lmdb_file:Lmdb",
    "dcp": "bench_core.formats.dcp:DistributedCheckpoint",
    "tensorstore": "bench_core.formats.tensorstore_dir:TensorStore",
    "redis": "bench_core.formats.redis_server:Redis",
    "fastsafetensors": "bench_core.formats.fastsafetensors_reader:FastSafetensors",
    "runai": "bench_core.formats.runai_reader:RunaiStreamer",
}


def names() -> list[str]:
    """Return the names of all formats, installed or not."""
    return list(_CLASSES)


def get(name: str, **options: str) -> Format:
    """Return the format called ``name``.

    Args:
        name: one of `names`.
        options: for the format's constructor; so far ``address`` of a Redis server.

    Raises:
        UnknownNameError: there is none; the message lists those there are.
    """
    if name not in _CLASSES:
        raise UnknownNameError(
            f"unknown format {name!r}; expected one of {', '.join(_CLASSES)}"
            f"{nearest(name, _CLASSES)}"
        )
    module, _, cls = _CLASSES[name].partition(":")
    format_: Format = getattr(importlib.import_module(module), cls)(**options)
    return format_


def writers() -> list[str]:
    """Return the names of the formats with a writer of their own."""
    return [name for name in _CLASSES if get(name).is_writer]
