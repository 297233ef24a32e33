"""What every engine of the layer store keeps: bytes, counts, pins, and nobody's half-done work."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_store_cases import ENGINES, equal, graph, stored_bytes, stores, tensors, with_child

from bench_core.errors import TensorMismatchError, TensorNotFoundError
from bench_core.weight_transfer import (
    GraphError,
    LayerStore,
    Match,
    ModelExistsError,
    RetiredError,
    StoreError,
    Swept,
    UnknownModelError,
    lineage,
    sweep,
)
from bench_core.weight_transfer.stores.shard import Shard


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LayerStore]:
    with stores(request.param, tmp_path) as made:
        yield made


def test_models_come_back_bit_for_bit_whole_in_part_and_in_place(store: LayerStore) -> None:
    first, second = with_child(store)
    assert equal(store.get(1), first)
    assert equal(store.get(2), second)
    assert equal(store.get(2, ["0.bias", "2.bias"]), {k: second[k] for k in ("0.bias", "2.bias")})
    into = {"1.weight": torch.zeros(16, 16)}
    assert store.get(2, into=into)["1.weight"] is into["1.weight"]
    assert equal(into, {"1.weight": second["1.weight"]})


def test_only_what_a_child_does_not_inherit_is_stored(store: LayerStore) -> None:
    with_child(store)
    parent, child = graph(16, 16, 4), graph(16, 16, 5)
    usage = store.usage()
    assert usage.nbytes == parent.nbytes + child.layers[2].nbytes
    assert usage.tensors == 6 + 2
    assert usage.references == 6 + 6
    assert [o.owner for o in lineage.contributors(store, 2)] == [1, 2]


def test_a_prefix_is_fetched_into_a_new_model(store: LayerStore) -> None:
    first, _ = with_child(store)
    new = graph(16, 16, 9)
    into = {name: torch.zeros(spec.shape) for name, spec in new.tensors().items()}
    with store.pinned_prefix(new) as match:
        assert match == Match(donor=2, positions=(0, 1), score=2)
        store.fetch(match, new, into)
    assert all(torch.equal(into[k], first[k]) for k in first if not k.startswith("2."))
    assert not into["2.weight"].any()


def test_a_child_that_has_everything_from_its_donor_is_a_model_like_others(
    store: LayerStore,
) -> None:
    """The original stores no record where no layer is left over."""
    same = graph(16, 4)
    given = tensors(same, seed=1)
    store.put(1, same, given)
    result = store.put(2, same, {}, donor=Match(1, (0, 1), 2))
    assert result.bytes_physical == 0
    assert equal(store.get(2), given)
    assert store.models() == [1, 2]
    store.retire(1)
    assert equal(store.get(2), given)


def test_bytes_without_a_record_are_not_visible(store: LayerStore) -> None:
    architecture = graph(16, 4)
    key = architecture.tensor_ids()["0.weight"]
    store.shard(1).write("somewhere.1.1-1", {key: torch.zeros(16, 8)})
    assert store.models() == []
    assert store.best_prefix(architecture) is None
    assert store.usage().nbytes == 0
    store.shard(1).discard("somewhere.1.1-1")
    assert store.shard(1).leftovers().unpublished == ()


def test_the_second_writer_of_an_id_is_refused_and_changes_nothing(store: LayerStore) -> None:
    _, second = with_child(store)
    before = store.usage()
    other = graph(16, 7)
    with pytest.raises(ModelExistsError, match="has or had a model 2; take another id"):
        own = tensors(other, seed=3, inherited=(0,))
        store.put(2, other, own, donor=Match(1, (0,), 1))
    assert store.usage() == before
    assert all(shard.leftovers().unpublished == () for shard in store.shards)
    assert equal(store.get(2), second)
    store.retire(2)
    with pytest.raises(ModelExistsError):
        store.put(2, other, tensors(other, seed=3))


def test_what_a_pin_keeps_outlives_retirement_until_the_last_pin_goes(store: LayerStore) -> None:
    first, _ = with_child(store)
    store.retire(2)
    one, two = store.pin(1), store.pin(1)
    assert store.retire(1) == 0
    assert store.best_prefix(graph(16)) is None
    assert equal(store.get(1), first)
    store.unpin(1, one)
    assert equal(store.get(1), first)
    store.unpin(1, two)
    store.unpin(1, two)
    assert store.usage().nbytes == store.usage().references == 0
    with pytest.raises(RetiredError, match="a tensor of model 1 is not there any more"):
        store.get(1)
    with pytest.raises(RetiredError, match="model 1 is retired; ask for another donor"):
        store.pin(1)


def test_a_donor_that_is_retired_after_the_match_is_refused(store: LayerStore) -> None:
    parent = graph(16, 4)
    store.put(1, parent, tensors(parent, seed=1))
    match = store.best_prefix(parent)
    store.retire(1)
    with pytest.raises(RetiredError):
        store.put(2, parent, {}, donor=match)
    assert store.models() == []
    assert store.usage().references == 0


def test_a_donor_retired_between_match_and_pin_gives_way_to_the_next(
    store: LayerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_child(store)
    found = LayerStore.best_prefix

    def retired_at_once(self: LayerStore, *arguments: Any) -> Match | None:
        match = found(self, *arguments)
        if match is not None and match.donor == 2:
            self.retire(2)
        return match

    monkeypatch.setattr(LayerStore, "best_prefix", retired_at_once)
    with store.pinned_prefix(graph(16, 16, 5)) as match:
        assert match == Match(1, (0, 1), 2)


def test_retirement_is_idempotent_and_frees_what_no_one_else_has(store: LayerStore) -> None:
    _, second = with_child(store)
    assert store.retire(1) == graph(16, 16, 4).layers[2].nbytes
    assert store.retire(1) == 0
    assert equal(store.get(2), second)
    store.retire(2)
    assert store.usage().tensors == store.usage().references == 0
    assert store.record(1).parent is None
    assert store.record(2).parent == 1


def test_ties_between_shards_go_to_the_more_accurate_model(store: LayerStore) -> None:
    """The original breaks ties on each server, but not between servers."""
    same = graph(16, 4)
    for model, accuracy in ((3, 0.5), (4, 0.7), (5, 0.6)):
        store.put(model, same, tensors(same, model), accuracy=accuracy)
    match = store.best_prefix(same)
    assert match is not None and match.donor == 4


def test_lineage(store: LayerStore) -> None:
    same = graph(16, 4)
    store.put(0, same, tensors(same, 0))
    for model, parent in ((1, 0), (2, 1), (3, 1), (4, 3)):
        store.put(model, same, {}, donor=Match(parent, (0, 1), 2))
    store.retire(1)
    assert lineage.ancestry(store, 4) == (3, 1, 0)
    assert lineage.descendants(store, 1) == {2, 3, 4}
    assert lineage.most_recent_common_ancestor(store, 2, 4) == 1
    assert lineage.most_recent_common_ancestor(store, 3, 4) == 3
    assert [c.owner for c in lineage.contributors(store, 4)] == [0]
    assert lineage.popularity(store, 3) == ((1, 2), (3, 1))
    assert lineage.popularity(store, 0) == ()


def test_tensors_that_are_not_the_models_are_refused(store: LayerStore) -> None:
    architecture = graph(16, 4)
    given = tensors(architecture, 1)
    with pytest.raises(TensorNotFoundError, match=r"'1\.bias' was not given"):
        store.put(1, architecture, {k: v for k, v in given.items() if k != "1.bias"})
    with pytest.raises(TensorMismatchError, match=r"'1\.bias' is .*given was"):
        store.put(1, architecture, {**given, "1.bias": torch.zeros(5)})
    with pytest.raises(TensorMismatchError, match="no tensor of this architecture"):
        store.put(1, architecture, {**given, "2.bias": torch.zeros(5)})
    with pytest.raises(StoreError, match="model id -1"):
        store.put(-1, architecture, given)
    store.put(1, architecture, given)
    with pytest.raises(TensorMismatchError, match="is inherited"):
        store.put(2, architecture, given, donor=Match(1, (0, 1), 2))
    with pytest.raises(TensorNotFoundError, match=r"'1\.bia'; did you mean '1\.bias'"):
        store.get(1, ["1.bia"])
    with pytest.raises(TensorMismatchError, match=r"'0\.weight' is .* \[16, 8\], given was"):
        store.get(1, into={"0.weight": torch.zeros(8, 16)})
    with pytest.raises(TensorNotFoundError, match=r"no destination was given for '1\.bias'"):
        store.get(1, ["0.bias", "1.bias"], into={"0.bias": torch.zeros(16)})
    with pytest.raises(GraphError, match="no layer 2, expected 0 to 1"):
        store.put(2, architecture, {}, donor=Match(1, (0, 2), 2))
    with pytest.raises(UnknownModelError, match="the store never had a model 7"):
        store.get(7)
    assert store.models() == [1]


@given(st.data())
@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize("engine", ENGINES)
def test_counts_are_what_the_live_owner_maps_name_whatever_happens(
    engine: str, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder, stores(engine, Path(folder)) as store:
        expected: dict[int, dict[str, torch.Tensor]] = {}
        pins: list[tuple[int, str]] = []
        for step in range(data.draw(st.integers(1, 12))):
            what = data.draw(st.sampled_from(["put", "put", "retire", "pin", "unpin"]))
            live = sorted(expected)
            if what == "put":
                architecture = graph(*data.draw(st.lists(st.sampled_from([4, 6]), min_size=1)))
                match = store.best_prefix(architecture)
                own = tensors(architecture, step, () if match is None else match.positions)
                store.put(step, architecture, own, donor=match)
                expected[step] = store.get(step)
                assert all(torch.equal(expected[step][name], own[name]) for name in own)
            elif what == "retire" and live:
                model = data.draw(st.sampled_from(live))
                store.retire(model)
                del expected[model]
            elif what == "pin" and live:
                model = data.draw(st.sampled_from(live))
                pins.append((model, store.pin(model)))
            elif what == "unpin" and pins:
                store.unpin(*pins.pop(data.draw(st.integers(0, len(pins) - 1))))
            _check(store, expected, {model for model, _ in pins})
        for model in list(expected):
            store.retire(model)
        for pin in pins:
            store.unpin(*pin)
        usage = store.usage()
        assert (usage.models, usage.tensors, usage.nbytes, usage.references) == (0, 0, 0, 0)


def _check(
    store: LayerStore, expected: dict[int, dict[str, torch.Tensor]], pinned: set[int]
) -> None:
    """The invariants: counts, no dangling tensor, and the bytes of every live model."""
    assert store.models() == sorted(expected)
    maps = [store.record(model).owner_map for model in {*expected, *pinned}]
    assert store.usage().references == sum(map(len, maps))
    assert store.usage().tensors == len({(o, t) for m in maps for t, o in m.items()})
    assert all(equal(store.get(model), tensors_) for model, tensors_ in expected.items())


CHANGING = ("write", "hold", "publish", "withdraw", "release", "pin", "unpin")


def _dying(shard: Shard, countdown: list[int]) -> Shard:
    """The shard, which kills its process before the n-th call that changes something."""

    def wrapped(name: str) -> Any:
        call = getattr(shard, name)

        def die_or_call(*arguments: Any) -> Any:
            if not countdown[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            countdown[0] -= 1
            return call(*arguments)

        return die_or_call

    for name in CHANGING:
        setattr(shard, name, wrapped(name))
    return shard


DURABLE = ("files", "ledger", "files of two", "lmdb", "lmdb of two", "redis", "redis of two")


def _steps(engine: str) -> int:
    """How many calls change something; those over several shards hold and release on each."""
    return 10 if engine.endswith("of two") else 8


@pytest.mark.parametrize(
    ("engine", "step"), [(engine, step) for engine in DURABLE for step in range(_steps(engine))]
)
def test_a_process_killed_between_any_two_steps_leaves_nothing_after_a_sweep(
    tmp_path: Path, step: int, engine: str
) -> None:
    with stores(engine, tmp_path) as store:
        first, second = with_child(store)
    if pid := os.fork():
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    else:
        countdown = [step]
        dying = [_dying(shard, countdown) for shard in ENGINES[engine](tmp_path)]
        with LayerStore(dying) as store:
            new = graph(16, 16, 6)
            with store.pinned_prefix(new) as match:
                store.put(4, new, tensors(new, 4, (0, 1)), donor=match)
            store.retire(1)
            store.retire(4)
        os._exit(0)
    with stores(engine, tmp_path) as store:
        sweep(store)
        fourth = {name: first[name] for name in first if not name.startswith("2.")}
        whole = {1: first, 2: second, 4: {**fourth, **tensors(graph(16, 16, 6), 4, (0, 1))}}
        _check(store, {model: whole[model] for model in store.models()}, set())
        assert sweep(store) == Swept(0, 0, 0, 0)
        for model in store.models():
            store.retire(model)
        assert store.usage().nbytes == 0
        assert not stored_bytes(engine, tmp_path)
