"""A shard's history: what an index needs, and no record is read for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from layer_store_cases import graph, stores, tensors

from bench_core.errors import CorruptFileError
from bench_core.weight_transfer import LayerStore, Match
from bench_core.weight_transfer.records import LARGEST_ID, ModelRecord
from bench_core.weight_transfer.stores.history import decode_change, decode_model, encode_change
from bench_core.weight_transfer.stores.shard import Change

NAMES = st.lists(st.binary(min_size=16, max_size=16), min_size=1).map(tuple)
APPEARANCES = st.builds(
    Change,
    st.integers(0, LARGEST_ID),
    NAMES,
    st.none() | st.floats(allow_nan=False),
)
RETIREMENTS = st.builds(Change, st.integers(0, LARGEST_ID), st.just(()))


@given(APPEARANCES | RETIREMENTS)
def test_a_change_comes_back(change: Change) -> None:
    data = encode_change(change)
    assert decode_change(data) == change
    assert decode_model(data) == (change.model, change.is_retirement)


@given(APPEARANCES | RETIREMENTS, st.integers(1, 40))
def test_a_change_that_was_cut_is_refused_or_ends_at_a_whole_name(change: Change, n: int) -> None:
    data = encode_change(change)[:-n]
    try:
        found = decode_change(data)
    except CorruptFileError:
        return
    assert n % 16 == 0
    assert found.names == change.names[: -n // 16]


def test_other_bytes_are_no_change() -> None:
    for data in (b"", b"something else", bytes(8) + b"\x07" + bytes(24)):
        with pytest.raises(CorruptFileError, match="no change in the history"):
            decode_change(data)
    with pytest.raises(CorruptFileError, match="33 bytes that model 3 went"):
        decode_change(encode_change(Change(3, ())) + bytes(16))


@pytest.mark.parametrize("engine", ["files", "lmdb", "redis"])
def test_a_store_is_opened_without_its_records(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stores(engine, tmp_path) as store:
        for model in range(20):
            architecture = graph(4, model + 1)
            store.put(model, architecture, tensors(architecture, model), accuracy=model / 20)
        store.retire(3)
    monkeypatch.setattr(ModelRecord, "decode", None)
    with stores(engine, tmp_path) as store:
        assert store.best_prefix(graph(4, 10)) == Match(9, (0, 1), 2)
        assert store.best_prefix(graph(4, 4)) == Match(19, (0,), 1)
        assert store.models() == [model for model in range(20) if model != 3]


@pytest.mark.parametrize("engine", ["memory", "files", "lmdb", "redis"])
def test_changes_are_those_after_a_point(engine: str, tmp_path: Path) -> None:
    with stores(engine, tmp_path) as store:
        _put(store, 1)
        (shard,) = store.shards
        first, changes = shard.changes(0)
        assert changes == [Change(1, graph(4, 1).names, None)]
        _put(store, 2)
        store.retire(1)
        second, changes = shard.changes(first)
        assert changes == [Change(2, graph(4, 2).names, None), Change(1, ())]
        assert shard.changes(second) == (second, [])


def _put(store: LayerStore, model: int) -> None:
    architecture = graph(4, model)
    store.put(model, architecture, tensors(architecture, model))
