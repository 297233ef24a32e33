"""Ways of transferring weights between models: none, a file for each, a scan, the layer store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench_core.errors import UnknownNameError, nearest
from bench_core.weight_transfer.errors import StoreError
from bench_core.weight_transfer.methods.base import Stored, TransferMethod
from bench_core.weight_transfer.methods.file_per_model import FilePerModel
from bench_core.weight_transfer.methods.file_search import FileSearch
from bench_core.weight_transfer.methods.noop import Noop
from bench_core.weight_transfer.methods.redis_scan import RedisScan
from bench_core.weight_transfer.methods.store_method import StoreMethod
from bench_core.weight_transfer.stores.opening import open_store, split_prefix

__all__ = [
    "FilePerModel",
    "FileSearch",
    "Noop",
    "RedisScan",
    "StoreMethod",
    "Stored",
    "TransferMethod",
    "names",
    "open_method",
]

_ENGINES: Final = ("memory", "files", "lmdb")
"""Of a layer store on this machine alone; others have servers."""


@dataclass(frozen=True)
class _Place:
    """Where a method keeps its models."""

    method: str
    folder: Path | None
    servers: Sequence[str]
    format: str
    engine: str

    def needed_folder(self) -> Path:
        if self.folder is None:
            raise StoreError(f"method {self.method!r} keeps models in a folder, none was given")
        return self.folder


def _redis_scan(place: _Place) -> TransferMethod:
    if len(place.servers) != 1:
        raise StoreError(
            f"method {place.method!r} needs one Redis server, {len(place.servers)} were given; "
            "name it by redis://host:port or unix:///path/to/socket"
        )
    address, prefix = split_prefix(place.servers[0])
    folder = place.needed_folder()
    if not prefix:
        return RedisScan(folder, address, place.format)
    return RedisScan(folder, address, place.format, prefix=prefix)


def _store(place: _Place) -> TransferMethod:
    if place.servers:
        return StoreMethod(open_store(place.servers))
    if place.engine not in _ENGINES:
        raise UnknownNameError(
            f"no engine {place.engine!r} without servers, expected one of {', '.join(_ENGINES)}"
            f"{nearest(place.engine, _ENGINES)}"
        )
    path = "" if place.engine == "memory" else place.needed_folder()
    return StoreMethod(open_store([f"{place.engine}:{path}"]))


_METHODS: Final[dict[str, Callable[[_Place], TransferMethod]]] = {
    "noop": lambda place: Noop(),
    "file": lambda place: FilePerModel(place.needed_folder(), place.format),
    "file_search": lambda place: FileSearch(place.needed_folder(), place.format),
    "redis_scan": _redis_scan,
    "store": _store,
}


def names() -> list[str]:
    """Return the names of all methods."""
    return list(_METHODS)


def open_method(
    name: str,
    folder: Path | None = None,
    servers: Sequence[str] = (),
    format: str = "safetensors",
    engine: str = "files",
) -> TransferMethod:
    """Return the method called ``name``, to be closed after use.

    Args:
        name: one of `names`.
        folder: of the models; methods in memory or with servers alone need none.
        servers: the Redis server of ``redis_scan``, or the shards of ``store`` as
            `bench_core.weight_transfer.stores.opening.open_store` takes them.
        format: of the files of methods with a file a model, see `bench_core.formats.names`.
        engine: ``memory``, ``files`` or ``lmdb``: of ``store`` without servers.

    Raises:
        UnknownNameError: there is no such method, engine or format.
        StoreError: what it needs was not given, can't be made or doesn't answer.
        MissingExtraError: a library that it needs is not installed.
    """
    if name not in _METHODS:
        raise UnknownNameError(
            f"no transfer method {name!r}, expected one of {', '.join(_METHODS)}"
            f"{nearest(name, _METHODS)}"
        )
    return _METHODS[name](_Place(name, folder, servers, format, engine))
