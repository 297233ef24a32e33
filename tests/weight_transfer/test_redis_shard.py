"""The shard in Redis: its server fails, is full or damaged; others work on it; odd tensors."""

from __future__ import annotations

import functools
import os
import random
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from layer_store_cases import equal, graph, redis_address, stores, tensors

from bench_core.errors import CorruptFileError, MissingExtraError
from bench_core.formats import TensorSpec, redis_client
from bench_core.formats.redis_process import redis_server
from bench_core.models.chains import BlockSpec
from bench_core.weight_transfer import (
    ArchitectureGraph,
    LayerStore,
    Match,
    ModelExistsError,
    RetiredError,
    StoreError,
    Swept,
    sequential,
    sweep,
)
from bench_core.weight_transfer.graphs import Layer
from bench_core.weight_transfer.puts import new_record
from bench_core.weight_transfer.stores import RedisShard, Usage


@pytest.fixture
def prefix(tmp_path: Path) -> str:
    return str(tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LayerStore]:
    with stores("redis", tmp_path) as made:
        yield made


@pytest.fixture
def client() -> Iterator[Any]:
    with redis_client.connect(redis_address()) as made:
        yield made


@pytest.fixture
def own_server() -> Callable[..., Any]:
    """`redis_server`, skipped where there is none."""
    redis_address()
    return redis_server


def holding(*specs: TensorSpec) -> ArchitectureGraph:
    """One layer of these tensors."""
    named = tuple((f"t{number}", spec) for number, spec in enumerate(specs))
    return sequential([Layer(BlockSpec.of("odd", of=len(specs)), named)])


def keys(client: Any, prefix: str, kind: str) -> list[bytes]:
    return list(client.scan_iter(f"{prefix}:{kind}:*"))


def in_a_child(work: Callable[[], None]) -> int:
    """Run in a forked process, which ends with 0 or, if anything was raised, with 1."""
    pid = os.fork()
    if not pid:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return pid


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# --- bytes -----------------------------------------------------------------------------------


def test_tensors_larger_than_a_value_odd_types_and_without_elements(
    store: LayerStore, client: Any, prefix: str
) -> None:
    given = {
        "0.t0": torch.rand(3, 1 << 18),
        "0.t1": torch.rand(33, 17).to(torch.bfloat16),
        "0.t2": torch.empty(0, 5),
        "0.t3": torch.rand(1 << 18),
        "0.t4": torch.tensor(7),
        "0.t5": torch.rand(5, 6).T,
    }
    architecture = holding(*map(TensorSpec.of, given.values()))
    put = store.put(1, architecture, given)
    assert put.bytes_physical == architecture.nbytes
    assert equal(store.get(1), given)
    lengths = sorted(client.strlen(key) for key in keys(client, prefix, "bytes"))
    assert lengths == [0, 8, 120, 33 * 17 * 2, 1 << 20, 1 << 20, 1 << 20, 1 << 20]
    into = {"0.t5": torch.zeros(6, 5).T.contiguous().T, "0.t2": torch.empty(0, 5)}
    assert equal(store.get(1, into=into), {name: given[name] for name in into})
    assert store.retire(1) == architecture.nbytes
    assert keys(client, prefix, "*") == []


def test_a_tensor_without_elements_is_gone_with_its_model(store: LayerStore) -> None:
    architecture = holding(TensorSpec((0, 3), torch.float32))
    store.put(1, architecture, {"0.t0": torch.empty(0, 3)})
    assert store.usage() == Usage(models=1, tensors=1, nbytes=0, references=1)
    store.retire(1)
    with pytest.raises(RetiredError):
        store.get(1)


def test_a_value_that_was_evicted_or_damaged(store: LayerStore, client: Any, prefix: str) -> None:
    architecture = graph(4)
    store.put(1, architecture, tensors(architecture, 1))
    weight = architecture.tensor_ids()["0.weight"]
    (key,) = (key for key in keys(client, prefix, "bytes") if weight in key)
    client.setrange(key, 128, b"12")
    with pytest.raises(CorruptFileError, match="has 130 bytes, expected 128"):
        store.get(1)
    client.delete(key)
    with pytest.raises(CorruptFileError, match="has no bytes, expected 128"):
        store.get(1)
    store.retire(1)
    with pytest.raises(RetiredError, match="a tensor of model 1 is not there any more"):
        store.get(1)


def test_a_model_whose_bytes_are_still_on_their_way_is_not_published(
    store: LayerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    architecture = graph(4)
    (shard,) = store.shards
    record = new_record(1, architecture, None, accuracy=None, info=None)
    refused = []

    def published_meanwhile(client: Any, parts: Any) -> int:
        with pytest.raises(StoreError, match="the bytes of model 1 are not all at"):
            shard.publish(record, {})
        refused.append(record)
        return sum(part.data.size for part in parts)

    monkeypatch.setattr(redis_client, "send", published_meanwhile)
    shard.write(record.token, dict.fromkeys(architecture.tensor_ids().values(), torch.ones(8)))
    assert refused and store.models() == []
    shard.publish(record, {})
    assert store.models() == [1]


# --- the history and the sums ----------------------------------------------------------------


def test_a_thousand_models_are_opened_without_reading_a_record(
    own_server: Callable[..., Any], prefix: str
) -> None:
    with own_server() as address, closing(RedisShard(address)) as shard:
        for model in range(1000):
            record = new_record(model, graph(4, model + 1), None, accuracy=0.5, info=None)
            shard.publish(record, {})
        shard.withdraw(7)
        with redis_client.connect(address) as client, LayerStore([RedisShard(address)]) as store:
            client.config_resetstat()
            assert store.best_prefix(graph(4, 600)) == Match(599, (0, 1), 2)
            calls = client.info("commandstats")
            received = client.info("stats")["total_net_output_bytes"]
        assert calls["cmdstat_lrange"]["calls"] == 1
        assert not {"cmdstat_hget", "cmdstat_hmget", "cmdstat_hgetall"} & calls.keys()
        assert received < 1001 * (17 + 2 * 16 + 10) + 20_000


def test_a_long_history_comes_in_windows(
    store: LayerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench_core.weight_transfer.stores.redis_shard._HISTORY_WINDOW", 4)
    (shard,) = store.shards
    for model in range(12):
        architecture = graph(model + 1)
        store.put(model, architecture, tensors(architecture, model))
        for since in range(model + 2):
            end, changes = shard.changes(since)
            assert end == model + 1
            assert [change.model for change in changes] == list(range(since, end))


def test_a_server_that_lost_its_data(own_server: Callable[..., Any]) -> None:
    with own_server() as address, LayerStore([RedisShard(address)]) as store:
        store.put(1, graph(4), tensors(graph(4), 1))
        assert store.best_prefix(graph(4)) is not None
        with redis_client.connect(address) as client:
            client.flushall()
        with pytest.raises(CorruptFileError, match="started anew, without its data"):
            store.best_prefix(graph(4))


@pytest.mark.parametrize("seed", range(4))
def test_the_sums_are_those_of_all_counts(
    store: LayerStore, client: Any, prefix: str, seed: int
) -> None:
    draw = random.Random(seed)
    for step in range(40):
        live = store.models()
        if live and draw.random() < 0.4:
            store.retire(draw.choice(live))
            continue
        architecture = graph(*draw.choices([4, 6], k=draw.randint(1, 4)))
        match = store.best_prefix(architecture)
        own = tensors(architecture, step, () if match is None else match.positions)
        store.put(step, architecture, own, donor=match)
    held = [int(n) for key in keys(client, prefix, "held") for n in client.hvals(key)]
    sizes = [int(n) for key in keys(client, prefix, "sizes") for n in client.hvals(key)]
    stored = [client.strlen(key) for key in keys(client, prefix, "bytes")]
    usage = store.usage()
    assert 0 not in held
    assert usage.tensors == len(held) == len(sizes) == len(stored)
    assert usage.references == sum(held)
    assert usage.nbytes == sum(sizes) == sum(stored)


# --- others ----------------------------------------------------------------------------------


def test_of_two_processes_that_write_one_id_exactly_one_wins(
    store: LayerStore, tmp_path: Path
) -> None:
    architecture = graph(64, 64)
    for model in range(5):
        start, go = os.pipe()

        def put(seed: int, model: int = model, start: int = start) -> None:
            with stores("redis", tmp_path) as own:
                os.read(start, 1)
                own.put(model, architecture, tensors(architecture, seed))

        writers = [in_a_child(functools.partial(put, seed)) for seed in (1, 2)]
        os.write(go, b"12")
        codes = [ended(pid) for pid in writers]
        assert sorted(codes) == [0, 1]
        assert equal(store.get(model), tensors(architecture, seed=1 + codes.index(0)))
        os.close(start)
        os.close(go)
    assert store.shards[0].leftovers().unpublished == ()
    assert store.usage().nbytes == 5 * architecture.nbytes


def test_two_stores_in_one_server_know_nothing_of_each_other(prefix: str) -> None:
    one, other = (RedisShard(redis_address(), f"{prefix}{name}") for name in "ab")
    with closing(one), closing(other):
        record = new_record(1, graph(4), None, accuracy=None, info=None)
        one.publish(record, {})
        assert (one.models(), other.models()) == ([1], [])
        other.publish(record, {})
        with pytest.raises(ModelExistsError):
            other.publish(record, {})


def test_a_forked_child_has_a_connection_of_its_own(store: LayerStore) -> None:
    architecture = graph(16, 4)
    given = tensors(architecture, 1)
    store.put(1, architecture, given)

    def read_often() -> None:
        for _ in range(50):
            assert equal(store.get(1), given)
        store.close()

    children = [in_a_child(read_often) for _ in range(2)]
    read_often()
    assert [ended(child) for child in children] == [0, 0]
    assert equal(store.get(1), given)


def test_a_writer_killed_among_its_bytes_is_swept(
    store: LayerStore, client: Any, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    architecture = holding(TensorSpec((3, 1 << 18), torch.float32))
    send = redis_client.send

    def half(client: Any, parts: Any) -> int:
        send(client, [next(iter(parts))])
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    def put() -> None:
        monkeypatch.setattr(redis_client, "send", half)
        store.put(1, architecture, {"0.t0": torch.rand(3, 1 << 18)})

    assert ended(in_a_child(put)) == -signal.SIGKILL
    assert len(keys(client, prefix, "bytes")) == 1
    assert store.models() == []
    assert sweep(store) == Swept(unpublished=1, holds=0, pins=0, nbytes=0)
    assert list(client.scan_iter(f"{prefix}*")) == []


# --- the server ------------------------------------------------------------------------------


def test_a_server_that_goes_among_the_bytes_of_a_put(
    own_server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    send = redis_client.send

    def half(client: Any, parts: Any) -> int:
        send(client, [next(iter(parts))])
        client.shutdown(nosave=True)
        return send(client, parts)

    with own_server() as address:
        store = LayerStore([RedisShard(address)])
        store.put(1, graph(4), tensors(graph(4), 1))
        assert store.best_prefix(graph(4)) is not None
        monkeypatch.setattr(redis_client, "send", half)
        with pytest.raises(StoreError) as raised:
            store.put(2, graph(4), tensors(graph(4), 2))
    assert str(raised.value).startswith(f"{address}: the Redis server does not answer (")
    assert "\n" not in str(raised.value)
    for call in (store.models, store.usage, lambda: store.get(1), lambda: store.retire(1)):
        with pytest.raises(StoreError, match="does not answer"):
            call()
    with pytest.raises(StoreError, match="does not answer"):
        store.best_prefix(graph(4))
    with pytest.raises(StoreError, match="does not answer"):
        RedisShard(address)
    store.close()


def test_a_killed_server_that_syncs_each_step_comes_back_with_all_models(
    own_server: Callable[..., Any], tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ("--appendonly", "yes", "--appendfsync", "always", "--dir", str(tmp_path))
    given = tensors(graph(4, 5), 1)
    with own_server(*options, port=port) as address:
        store = LayerStore([RedisShard(address)])
        store.put(1, graph(4, 5), given)
        store.put(2, graph(4, 5), {}, donor=Match(1, (0, 1), 2))
        store.retire(1)
        before = store.usage()
        with redis_client.connect(address) as client:
            os.kill(client.info("server")["process_id"], signal.SIGKILL)
    with own_server(*options, port=port), store:
        assert equal(store.get(2), given)
        assert store.usage() == before
        assert store.best_prefix(graph(4)) == Match(2, (0,), 1)


def test_a_full_server_keeps_nothing_of_a_put_and_still_retires(
    own_server: Callable[..., Any],
) -> None:
    large = holding(TensorSpec((12, 1 << 18), torch.float32))
    with (
        own_server("--maxmemory", "8mb", "--maxmemory-policy", "noeviction") as address,
        LayerStore([RedisShard(address)]) as store,
        redis_client.connect(address) as client,
    ):
        store.put(1, graph(4, 5), tensors(graph(4, 5), 1))
        before = sorted(client.keys()), store.usage()
        with pytest.raises(StoreError, match=r"^unix://.* memory is full .*nothing was changed"):
            store.put(2, large, {"0.t0": torch.rand(12, 1 << 18)})
        assert (sorted(client.keys()), store.usage()) == before
        assert store.shards[0].leftovers().unpublished == ()
        pin = store.pin(1)
        client.config_set("maxmemory", "1mb")
        with pytest.raises(StoreError, match="memory is full"):
            store.put(3, graph(6), tensors(graph(6), 1))
        with pytest.raises(StoreError, match="memory is full"):
            store.put(4, graph(4, 5), {}, donor=Match(1, (0, 1), 2))
        assert store.usage() == before[1]
        assert sweep(store) == Swept(0, 0, 0, 0)
        assert store.retire(1) == 0
        store.unpin(1, pin)
        assert store.usage() == Usage(0, 0, 0, 0)
        assert client.keys("layers:bytes:*") == []


def test_a_server_that_may_evict_is_refused(own_server: Callable[..., Any]) -> None:
    with (
        own_server("--maxmemory", "8mb", "--maxmemory-policy", "allkeys-lru") as address,
        pytest.raises(StoreError, match="maxmemory-policy allkeys-lru"),
    ):
        RedisShard(address)
    with own_server("--maxmemory", "8mb", "--maxmemory-policy", "volatile-lru") as address:
        RedisShard(address).close()


def test_a_key_of_something_else_is_told(client: Any, prefix: str) -> None:
    client.set(f"{prefix}:history", "else")
    with (
        closing(RedisShard(redis_address(), prefix)) as shard,
        pytest.raises(StoreError, match=r"refuses \(WRONGTYPE.*is a layer store under"),
    ):
        shard.changes(0)


def test_what_is_no_address() -> None:
    with pytest.raises(StoreError, match="expected redis://host:port or unix:///path"):
        RedisShard("localhost:6379")


def test_without_the_client_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(MissingExtraError, match=r"bench-core\[storage\]"):
        RedisShard("redis://127.0.0.1:6379")
