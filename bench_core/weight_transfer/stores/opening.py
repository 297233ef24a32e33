"""Layer stores by the addresses of their shards, one URL each."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from bench_core.errors import UnknownNameError, nearest
from bench_core.weight_transfer.errors import StoreError
from bench_core.weight_transfer.store import LayerStore
from bench_core.weight_transfer.stores.shard import Shard

SERVERS_VARIABLE: Final = "MODEL_SERVERS"
"""Of the environment: blank-separated addresses, as in the original of EvoStore."""


def open_store(urls: str | Sequence[str] | None = None) -> LayerStore:
    """Return a store over the shards at some addresses, in this order: model ids are placed by it.

    ===================================  ======================================================
    ``memory:``                          in this process
    ``files:PATH``, ``lmdb:PATH``        in a folder of this machine
    ``redis://HOST:PORT/DB#PREFIX``      a Redis server; the prefix of its keys may be left out
    ``unix:///SOCKET#PREFIX``            one that listens on a socket of this machine
    ===================================  ======================================================

    Args:
        urls: one or several, in one string with blanks between them or each for itself, so that a
            path may have blanks. None: those of the environment's ``MODEL_SERVERS``.

    Raises:
        UnknownNameError: there is no such kind of address.
        StoreError: none was given, or a shard can't be opened.
        MissingExtraError: a library that one needs is not installed.

    Example:
        >>> store = open_store("memory: memory:")
        >>> len(store.shards)
        2
    """
    given = _given(urls)
    with ExitStack() as opened:
        shards = []
        for url in given:
            shards.append(open_shard(url))
            opened.callback(shards[-1].close)
        store = LayerStore(shards)
        opened.pop_all()
    return store


def open_shard(url: str) -> Shard:
    """Return the shard at an address, see `open_store`.

    Raises:
        As `open_store`.
    """
    scheme, colon, rest = url.partition(":")
    if not colon or scheme not in _SCHEMES:
        expected = ", ".join(f"{name}:" for name in _SCHEMES)
        raise UnknownNameError(
            f"no address of a shard: {url!r}, expected one that begins with {expected}"
            f"{nearest(scheme, _SCHEMES)}"
        )
    return _SCHEMES[scheme](url, rest)


def split_prefix(url: str) -> tuple[str, str]:
    """Return a server's address and the prefix of keys after ``#``, empty where there is none."""
    address, _, prefix = url.partition("#")
    return address, prefix


def _given(urls: str | Sequence[str] | None) -> list[str]:
    if urls is None:
        urls = os.environ.get(SERVERS_VARIABLE, "")
        source = f"the environment's {SERVERS_VARIABLE} is empty or not set"
    else:
        source = "none was given"
    found = urls.split() if isinstance(urls, str) else list(urls)
    if not found:
        raise StoreError(
            f"a layer store needs the address of a shard or more, {source}; for example "
            "files:PATH or redis://127.0.0.1:6379"
        )
    return found


def _memory(url: str, rest: str) -> Shard:
    from bench_core.weight_transfer.stores.memory import MemoryShard

    if rest:
        raise StoreError(f"{url!r}: a shard in memory has no path, expected 'memory:'")
    return MemoryShard()


def _files(url: str, rest: str) -> Shard:
    from bench_core.weight_transfer.stores.files import FileShard

    return FileShard(_path(url, rest))


def _lmdb(url: str, rest: str) -> Shard:
    from bench_core.weight_transfer.stores.lmdb_shard import LmdbShard

    return LmdbShard(_path(url, rest))


def _redis(url: str, rest: str) -> Shard:
    from bench_core.weight_transfer.stores.redis_shard import RedisShard

    address, prefix = split_prefix(url)
    if len(address.partition(":")[2].strip("/")) == 0:
        raise StoreError(
            f"{url!r} names no server, expected redis://host:port or unix:///path/to/socket"
        )
    return RedisShard(address, prefix) if prefix else RedisShard(address)


def _mpi(url: str, rest: str) -> Shard:
    raise StoreError(
        f"{url!r}: providers of MPI have no address; within an MPI program open their store by "
        "`split_world` or `spawn_providers`"
    )


def _path(url: str, rest: str) -> Path:
    if not rest:
        raise StoreError(f"{url!r} names no folder, expected {url}PATH")
    return Path(rest)


_SCHEMES: Final[dict[str, Callable[[str, str], Shard]]] = {
    "memory": _memory,
    "files": _files,
    "lmdb": _lmdb,
    "redis": _redis,
    "unix": _redis,
    "mpi": _mpi,
}
