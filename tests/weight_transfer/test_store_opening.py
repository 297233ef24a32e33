"""Stores and methods by names and addresses, and what is said of those that are none."""

from __future__ import annotations

from pathlib import Path

import pytest
from layer_store_cases import equal, graph, redis_address, tensors

from bench_core.errors import UnknownNameError
from bench_core.weight_transfer import StoreError
from bench_core.weight_transfer.methods import (
    FilePerModel,
    FileSearch,
    Noop,
    RedisScan,
    StoreMethod,
    TransferMethod,
    names,
    open_method,
)
from bench_core.weight_transfer.stores import FileShard, LmdbShard, MemoryShard, RedisShard
from bench_core.weight_transfer.stores.opening import open_store

GRAPH = graph(16, 4)


def test_one_shard_a_url_in_their_order(tmp_path: Path) -> None:
    urls = f"memory: files:{tmp_path}/one  lmdb:{tmp_path}/two"
    with open_store(urls) as store:
        assert [type(shard) for shard in store.shards] == [MemoryShard, FileShard, LmdbShard]
        for model in range(3):
            store.put(model, GRAPH, tensors(GRAPH, model))
    with open_store([*urls.split()[1:], "memory:"]) as store:
        assert store.shards[0].models() == [1]
        assert store.shards[1].models() == [2]


def test_paths_with_blanks_in_a_sequence(tmp_path: Path) -> None:
    with open_store([f"files:{tmp_path}/a folder"]) as store:
        store.put(1, GRAPH, tensors(GRAPH, 1))
    assert (tmp_path / "a folder" / "ledger.sqlite").exists()


def test_a_redis_server_under_a_prefix(tmp_path: Path) -> None:
    address = redis_address()
    with open_store(f"{address}#{tmp_path}/one {address}#{tmp_path}/two") as store:
        shards = [shard for shard in store.shards if isinstance(shard, RedisShard)]
        assert [shard.address for shard in shards] == [address, address]
        assert [shard.prefix for shard in shards] == [f"{tmp_path}/one", f"{tmp_path}/two"]
        store.put(1, GRAPH, tensors(GRAPH, 1))
        assert equal(store.get(1), tensors(GRAPH, 1))


def test_the_environment_names_the_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODEL_SERVERS", raising=False)
    with pytest.raises(StoreError, match="MODEL_SERVERS is empty or not set"):
        open_store()
    monkeypatch.setenv("MODEL_SERVERS", f"memory: files:{tmp_path}")
    with open_store() as store:
        assert len(store.shards) == 2


@pytest.mark.parametrize(
    ("urls", "message"),
    [
        ("", "none was given"),
        ([], "none was given"),
        ("file:/models", "'file:/models'.* begins with memory:, files:.*did you mean 'files'"),
        ("models", "no address of a shard: 'models'"),
        ("files:", "'files:' names no folder, expected files:PATH"),
        ("lmdb:", "'lmdb:' names no folder"),
        ("memory:here", "a shard in memory has no path"),
        ("redis://", "'redis://' names no server"),
        ("unix://#prefix", "'unix://#prefix' names no server"),
        ("mpi:4", "split_world"),
        ("redis://localhost:port", "no address of a Redis server"),
    ],
)
def test_what_is_no_address(urls: str | list[str], message: str) -> None:
    with pytest.raises((StoreError, UnknownNameError), match=message):
        open_store(urls)


def test_what_was_opened_is_closed_when_a_later_shard_cannot_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed: list[MemoryShard] = []
    monkeypatch.setattr(MemoryShard, "close", lambda self: closed.append(self))
    with pytest.raises(UnknownNameError):
        open_store("memory: memory: nothing:")
    assert len(closed) == 2


def test_methods_by_their_names(tmp_path: Path) -> None:
    server = [f"{redis_address()}#{tmp_path}"]
    kinds: list[type[TransferMethod]] = [Noop, FilePerModel, FileSearch, RedisScan, StoreMethod]
    for name, kind in zip(names(), kinds, strict=True):
        servers = server if name == "redis_scan" else ()
        with open_method(name, tmp_path / name, servers) as method:
            assert type(method) is kind
            assert method.name == name


def test_the_store_of_a_method(tmp_path: Path) -> None:
    for engine, kind in (("memory", MemoryShard), ("files", FileShard), ("lmdb", LmdbShard)):
        with open_method("store", tmp_path / engine, engine=engine) as method:
            assert isinstance(method, StoreMethod)
            assert [type(shard) for shard in method.layer_store.shards] == [kind]
    with open_method("store", servers=["memory:", "memory:"]) as method:
        assert isinstance(method, StoreMethod)
        assert len(method.layer_store.shards) == 2


def test_what_is_no_method(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'file_search'"):
        open_method("file_serch", tmp_path)
    with pytest.raises(UnknownNameError, match="did you mean 'lmdb'"):
        open_method("store", tmp_path, engine="lmbd")
    with pytest.raises(UnknownNameError, match="did you mean 'hdf5'"):
        open_method("file", tmp_path, format="hdf")
    for name in ("file", "store"):
        with pytest.raises(StoreError, match=f"'{name}' keeps models in a folder, none"):
            open_method(name)
    with pytest.raises(StoreError, match="needs one Redis server, 0 were given"):
        open_method("redis_scan", tmp_path)
