"""What can go wrong between the shards of a store: half a put, a fork, one fails, one is full."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from layer_store_cases import equal, graph, stores, tensors, with_child

from bench_core.weight_transfer import FullError, Match, RetiredError, sweep, sweeping
from bench_core.weight_transfer.puts import new_record, own_tensors


def test_a_put_that_ends_while_a_sweep_looks_keeps_what_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stores("files of two", tmp_path) as store:
        first, _ = with_child(store)
        new = graph(16, 16, 6)
        record = new_record(4, new, (store.record(1), (0, 1)), accuracy=None, info=None)
        own = tensors(new, 4, (0, 1))
        store.shard(4).write(record.token, own_tensors(record, own))
        store.shard(1).hold({1: record.by_owner[1]}, record.token)

        def published_and_dead(mark: str) -> bool:
            if 4 not in store.models():
                store.shard(4).publish(record, {})
            return True

        monkeypatch.setattr(sweeping, "is_dead", published_and_dead)
        sweep(store)
        store.retire(1)
        store.retire(2)
        inherited = {name: first[name] for name in first if not name.startswith("2.")}
        assert equal(store.get(4), {**inherited, **own})


def test_a_forked_child_reads_from_several_shards(tmp_path: Path) -> None:
    with stores("files of two", tmp_path) as store:
        _, second = with_child(store)
        assert equal(store.get(2), second)
        if pid := os.fork():
            assert os.waitpid(pid, 0)[1] == 0
        else:
            signal.alarm(30)
            os._exit(0 if equal(store.get(2), second) else 1)


def test_a_read_that_fails_is_over_on_all_shards(tmp_path: Path) -> None:
    with stores("memory of three", tmp_path) as store:
        with_child(store)
        ended: list[str] = []

        def failing(wanted: object) -> None:
            raise RetiredError("gone")

        def slow(wanted: object) -> None:
            time.sleep(0.2)
            ended.append("slow")

        store.shard(1).read, store.shard(2).read = failing, slow  # type: ignore[method-assign]
        with pytest.raises(RetiredError):
            store.get(2)
        assert ended == ["slow"]


def test_what_was_held_for_a_put_that_found_no_room_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stores("files of two", tmp_path) as store:
        with_child(store)
        before = store.usage()

        def full(record: object, inherited: object) -> None:
            raise FullError("no room")

        monkeypatch.setattr(store.shard(4), "publish", full)
        new = graph(16, 16, 6)
        with pytest.raises(FullError):
            store.put(4, new, tensors(new, 4, (0, 1)), donor=Match(1, (0, 1), 2))
        assert store.usage() == before
