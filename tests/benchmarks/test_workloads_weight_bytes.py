"""The workloads that move weights: what they change, store, share and leave; what fails them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench_core.weight_transfer import LayerStore, Match, Network, sequential
from bench_core.weight_transfer.layers import dense
from bench_core.weight_transfer.stores import MemoryShard
from benchmarks import stored_transfers, weight_transfers
from benchmarks.frozen_training import FreezeGain, FrozenStep, frozen_network, saved_bytes
from benchmarks.incremental_puts import (
    PLACES,
    ChildWrite,
    changed_positions,
)
from benchmarks.population_writes import PopulationWrite
from benchmarks.put_scaling import PutScaling, TinyPut, fitted
from benchmarks.retirement import RetireUnderLoad
from benchmarks.stored_transfers import StoredTransfer, put_generations
from benchmarks.support.equal_stacks import bytes_at, equal_stack, random_model, stack_width
from benchmarks.support.evolved_members import check_space, evolved, scaled_space
from benchmarks.support.loaders import FormatLoader
from benchmarks.weight_transfers import InMemoryTransfer
from harness.benchmark import OPERATION, Benchmark
from harness.errors import InputError, RefusedError
from harness.records import Record

GIB = 1 << 30


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_CORE_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def sample(benchmark: Benchmark, *values: Any) -> Record:
    (method,) = filter(OPERATION.fullmatch, dir(benchmark))
    return benchmark.sample(method, *values)


def flipped(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    wrong = tensors["3.bias"].clone()
    wrong.view(torch.uint8)[-1] ^= 1
    return {**tensors, "3.bias": wrong}


# Stacks of a given size, and what of them is changed.


@given(nbytes=st.integers(1 << 12, 1 << 36), layers=st.integers(1, 200))
def test_a_stack_is_the_largest_of_no_more_bytes(nbytes: int, layers: int) -> None:
    def size(width: int) -> int:
        return sequential([dense((32,), width), *[dense((width,), width)] * layers]).nbytes

    graph = equal_stack(nbytes, layers)
    assert len(graph) == layers + 1
    width = stack_width(nbytes, layers)
    assert graph.nbytes == size(width)
    assert width == 1 or size(width) <= nbytes
    assert size(width + 1) > nbytes


def test_the_published_stack_of_4_gib() -> None:
    graph = equal_stack(4 * GIB, 100)
    assert len(graph) == 101
    assert stack_width(4 * GIB, 100) == 3276
    assert graph.nbytes == pytest.approx(4 * GIB, rel=1e-3)
    assert graph.layers[50].nbytes == pytest.approx(43e6, rel=1e-2)


@given(share=st.integers(0, 100), layers=st.integers(1, 120), place=st.sampled_from(PLACES))
def test_so_many_percent_of_the_equal_layers_are_changed(
    share: int, layers: int, place: str
) -> None:
    found = changed_positions(share, place, layers)
    assert list(found) == sorted(set(found))
    if share == 100:
        assert found == tuple(range(layers + 1))
    else:
        assert len(found) == round(share * layers / 100)
        assert all(1 <= position <= layers for position in found)


def test_first_last_and_scattered_layers() -> None:
    assert changed_positions(25, "first", 8) == (1, 2)
    assert changed_positions(25, "last", 8) == (7, 8)
    assert changed_positions(25, "scattered", 8) == (3, 7)
    assert changed_positions(0, "scattered", 8) == ()
    for share, place in ((101, "last"), (-1, "last"), (50, "nowhere")):
        with pytest.raises(RefusedError):
            changed_positions(share, place, 8)
    ChildWrite.check_param("place", "first")
    with pytest.raises(InputError, match="nowhere"):
        ChildWrite.check_param("place", "nowhere")


# W5.


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("way", ["store_files", "store_lmdb", "store_memory", "safetensors"])
def test_a_child_write_states_what_it_wrote(way: str, place: str) -> None:
    record = sample(ChildWrite(), way, 25, place, 1, 20)
    assert (record.status, record.reason) == ("ok", None)
    graph = equal_stack(1 << 20, 20)
    assert record.bytes == bytes_at(graph, changed_positions(25, place, 20))
    assert record.extra["logical_bytes"] == graph.nbytes
    written = record.extra["written_bytes"]
    if way.startswith("store_"):
        assert record.bytes <= written < 1.1 * record.bytes
    else:
        assert written >= graph.nbytes


def test_nothing_of_a_child_stays_in_the_store() -> None:
    benchmark = ChildWrite()
    for share in (25, 100, 0):
        assert sample(benchmark, "store_files", share, "scattered", 1, 20).status == "ok"
    store = benchmark.target.store
    assert store.models() == [0]
    assert store.usage().nbytes == benchmark.graph.nbytes


def test_the_changed_layers_and_no_others_differ_from_the_parent() -> None:
    benchmark = ChildWrite()
    benchmark.prepare_parent(1, 6)
    for changed in ((0,), (3, 6), (6,), tuple(range(7))):
        child = benchmark.child(changed)
        different = {
            int(name.partition(".")[0])
            for name, tensor in child.items()
            if not torch.equal(tensor, benchmark.parent[name])
        }
        assert different == set(changed)
        assert {n: t.shape for n, t in child.items()} == {
            n: t.shape for n, t in benchmark.parent.items()
        }


@pytest.mark.parametrize("way", ["store_memory", "safetensors"])
def test_one_wrong_bit_fails_a_child_write(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    get, load = LayerStore.get, FormatLoader.load
    monkeypatch.setattr(LayerStore, "get", lambda self, model: flipped(get(self, model)))
    monkeypatch.setattr(FormatLoader, "load", lambda self, path: flipped(load(self, path)))
    record = sample(ChildWrite(), way, 50, "last", 1, 10)
    assert (record.status, record.value) == ("failed", None)
    assert record.reason == "1 tensors differ, the first is '3.bias'"


def test_a_tiny_put_writes_five_layers_or_one() -> None:
    benchmark = TinyPut()
    assert sample(benchmark, "memory", "all").extra["written_bytes"] == benchmark.graph.nbytes
    written = sample(benchmark, "memory", "one").extra["written_bytes"]
    assert written == benchmark.graph.layers[-1].nbytes
    assert benchmark.target.store.models() == [0]


@given(
    fixed=st.floats(0, 1),
    slope=st.floats(1e-12, 1e-6),
    x=st.sets(st.integers(0, 10**9), min_size=3),
)
def test_points_on_a_line_are_explained_by_it(fixed: float, slope: float, x: set[int]) -> None:
    line = fitted(sorted(x), [fixed + slope * value for value in sorted(x)])
    largest = fixed + slope * max(x)
    assert line.fixed == pytest.approx(fixed, abs=1e-6 * largest + 1e-12)
    assert line.r2 == pytest.approx(1, abs=1e-3) or slope * (max(x) - min(x)) < 1e-6 * largest


def test_points_off_a_line_are_not() -> None:
    line = fitted([0, 1, 2, 3], [0, 1, 0, 1])
    assert line.slope == pytest.approx(0.2)
    assert line.fixed == pytest.approx(0.2)
    assert line.r2 == pytest.approx(0.2)


def test_a_fit_states_all_its_points() -> None:
    record = sample(PutScaling(), "memory", 1, 20)
    assert (record.status, record.unit) == ("ok", "R2")
    assert [len(seconds) for seconds in record.extra["put_seconds"]] == [3] * 7
    written = record.extra["written_bytes"]
    assert written == sorted(written)
    assert (written[0], written[-1]) == (0, equal_stack(1 << 20, 20).nbytes)


def test_a_put_that_leaves_bytes_behind_fails_the_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LayerStore, "retire", lambda self, model: 0)
    record = sample(PutScaling(), "memory", 1, 20)
    assert record.status == "failed"
    assert "left bytes behind" in str(record.reason)


# W6 and M5.


def test_an_evolution_is_the_same_for_a_seed_and_children_have_their_donors_memory() -> None:
    space = scaled_space("feed-forward", 1)
    members = evolved(space, 12, 4, seed=3)
    again = evolved(space, 12, 4, seed=3)
    assert [member.arch for member in members] == [member.arch for member in again]
    assert [m.match for m in members] == [m.match for m in again]
    assert any(len(member.inherited) > 1 for member in members)
    for member in members:
        assert member.tensors.keys() == member.graph.tensors().keys()
        if member.match is not None:
            theirs = {t.data_ptr() for t in members[member.match.donor].tensors.values()}
            mine = {
                tensor.data_ptr()
                for name, tensor in member.tensors.items()
                if int(name.partition(".")[0]) in member.inherited
            }
            assert mine <= theirs


def test_spaces_are_scaled_and_checked() -> None:
    assert scaled_space("dense-skip", 3).settings["widths"][0] == 48
    assert scaled_space("attn", 1).name == "attn"
    with pytest.raises(RefusedError, match="can be scaled"):
        scaled_space("attn", 2)
    check_space("attn")
    with pytest.raises(InputError, match="expected one of"):
        check_space("nonsense")


@pytest.mark.parametrize("space", ["feed-forward", "dense-skip"])
def test_a_store_holds_what_the_owner_maps_name(space: str) -> None:
    benchmark = PopulationWrite()
    stored = sample(benchmark, "store_memory", space, 1, 10, 4)
    files = sample(benchmark, "safetensors", space, 1, 10, 4)
    assert (stored.status, files.status) == ("ok", "ok")
    assert stored.extra["dedup_ratio"] == stored.extra["owner_map_ratio"] > 1
    assert files.extra["logical_bytes"] == stored.extra["logical_bytes"]
    assert files.extra["dedup_ratio"] < 1
    assert stored.extra["layer_ratio"] > 1
    assert stored.extra["birthday_ratio"] >= 1
    assert 0 < stored.extra["naming_share"] < 1


def test_a_store_that_shares_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    put = LayerStore.put

    def whole(self: LayerStore, model: int, graph: Any, tensors: Any, **how: Any) -> Any:
        members = benchmark.members[model]
        return put(self, model, graph, members.tensors, accuracy=how["accuracy"])

    benchmark = PopulationWrite()
    monkeypatch.setattr(LayerStore, "put", whole)
    record = sample(benchmark, "store_memory", "feed-forward", 1, 10, 4)
    assert record.status == "failed"
    assert "the owner maps name" in str(record.reason)


@pytest.mark.parametrize("engine", ["files", "lmdb", "memory"])
def test_retirement_keeps_the_bytes_bounded_and_leaks_none(engine: str, data: Path) -> None:
    kept = sample(RetireUnderLoad(), engine, "no", "feed-forward", 24, 4, 1)
    retired = sample(RetireUnderLoad(), engine, "yes", "feed-forward", 24, 4, 1)
    assert (kept.status, retired.status) == ("ok", "ok"), (kept.reason, retired.reason)
    assert retired.extra["births"] == list(range(1, 25))
    assert kept.extra["stored_bytes"] == sorted(kept.extra["stored_bytes"])
    assert retired.extra["peak_bytes"] < kept.extra["peak_bytes"]
    assert retired.extra["leaked_bytes"] == kept.extra["leaked_bytes"] == 0
    assert "retire_p99_seconds" in retired.extra
    assert "retire_p99_seconds" not in kept.extra
    assert not list(data.rglob("*.safetensors"))


def test_a_retirement_that_frees_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryShard, "release", lambda self, owner, token: 0)
    record = sample(RetireUnderLoad(), "memory", "yes", "feed-forward", 12, 3, 0)
    assert record.status == "failed"
    assert "bytes are stored" in str(record.reason)


def test_a_reader_that_fails_fails_the_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: LayerStore, model: int) -> None:
        raise OSError("no such disk")

    monkeypatch.setattr(LayerStore, "get", broken)
    record = sample(RetireUnderLoad(), "files", "yes", "feed-forward", 12, 3, 1)
    assert (record.status, record.reason) == ("failed", "OSError: no such disk")


# T1 and T3.


@pytest.mark.parametrize("way", list(weight_transfers._MOVES))
def test_layers_are_given_and_bytes_moved_only_where_the_way_copies(way: str) -> None:
    record = sample(InMemoryTransfer(), way, 50, 1, 4)
    assert (record.status, record.reason) == ("ok", None)
    assert record.bytes == bytes_at(equal_stack(1 << 20, 4), range(3))
    is_copy = way in weight_transfers.MOVING
    assert record.extra["moved_bytes"] == (record.bytes if is_copy else 0)


def test_a_copy_that_shares_and_a_way_that_does_nothing_fail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moves = dict(weight_transfers._MOVES)
    monkeypatch.setattr(
        weight_transfers, "_MOVES", {"copy_": moves["share"], "share": lambda *given: None}
    )
    shares = sample(InMemoryTransfer(), "copy_", 100, 1, 4)
    assert shares.reason == "10 of 10 tensors share their memory"
    nothing = sample(InMemoryTransfer(), "share", 100, 1, 4)
    assert nothing.reason == "10 tensors differ, the first is '0.weight'"


@pytest.mark.parametrize("owners", [1, 2, 3, 5])
def test_generations_own_a_model_s_layers_in_turns(owners: int) -> None:
    graph = equal_stack(1 << 16, 9)
    tensors = random_model(graph, seed=1)
    store = LayerStore([MemoryShard()])
    put_generations(store, graph, tensors, owners)
    assert store.models() == list(range(owners))
    found = store.get(owners - 1)
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    owner_of = {
        int(name.partition(".")[0]): owner
        for name, owner in zip(graph.tensors(), store.record(owners - 1).owners, strict=True)
    }
    assert owner_of == {position: position % owners for position in range(len(graph))}
    assert store.best_prefix(graph) == Match(owners - 1, tuple(range(10)), 10)


@pytest.mark.parametrize("way", ["store_files", "store_lmdb", "safetensors", "hdf5"])
def test_a_child_gets_all_but_its_new_head(way: str) -> None:
    record = sample(StoredTransfer(), way, "warm", 3, 1, 8)
    assert (record.status, record.reason) == ("ok", None)
    assert record.bytes == bytes_at(equal_stack(1 << 20, 8), range(8))
    assert StoredTransfer.planned_bytes(mebibytes=1, layers=8) == record.bytes
    phases = record.extra.get("phases", {})
    assert set(phases) == (set(stored_transfers.PHASES) if way.startswith("store") else set())


def test_a_fetch_that_fills_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = StoredTransfer()
    values = ("store_memory", "warm", 2, 1, 8)
    assert sample(benchmark, *values).status == "ok"
    monkeypatch.setattr(LayerStore, "fetch", lambda self, match, graph, into: None)
    record = sample(benchmark, *values)
    assert record.reason == "16 tensors differ, the first is '0.weight'"


def test_what_is_mapped_or_in_memory_is_not_made_cold() -> None:
    for way in ("store_lmdb", "store_redis", "store_memory"):
        record = sample(StoredTransfer(), way, "cold_file", 1, 1, 8)
        assert record.status == "skipped"
        assert "cannot be made cold" in str(record.reason)
    small = sample(StoredTransfer(), "store_files", "cold_file", 4, 1, 32)
    assert (small.status, small.reason) == ("ok", None)
    smaller = sample(StoredTransfer(), "store_files", "cold_file", 32, 1, 32)
    assert smaller.status == "skipped"
    assert "ask for larger models" in str(smaller.reason)


# T5.


@pytest.mark.parametrize(("frozen", "layers"), [(0, 0), (25, 2), (50, 4), (100, 8)])
def test_a_frozen_prefix_keeps_nothing_for_the_backward_pass(frozen: int, layers: int) -> None:
    width, batch = 16, 4
    network = frozen_network(frozen, width, "cpu", seed=0)
    assert network.frozen == set(range(layers))
    inputs = torch.ones(batch, width)
    # Each trained layer keeps its input, which is the output of the one before, and relu the last.
    expected = (8 - layers + 1) * batch * width * 4 if layers < 8 else 0
    assert saved_bytes(network, inputs) == expected


def test_a_step_states_its_memory() -> None:
    records = {frozen: sample(FrozenStep(), frozen, 16, 4, "cpu") for frozen in (0, 50, 100)}
    assert {record.status for record in records.values()} == {"ok"}
    of_layer = (16 * 16 + 16) * 4
    state = {frozen: record.extra["state_bytes"] for frozen, record in records.items()}
    assert state == {0: 2 * 8 * of_layer, 50: 2 * 4 * of_layer, 100: 0}
    for record in records.values():
        whole = record.extra["saved_bytes"] + record.extra["state_bytes"]
        assert record.extra["training_bytes"] == whole


def test_frozen_layers_that_are_trained_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    freeze = Network.freeze

    def thawed(self: Network, positions: Any) -> None:
        freeze(self, positions)
        self.requires_grad_(True)
        self._prefix = frozenset()

    monkeypatch.setattr(Network, "freeze", thawed)
    record = sample(FrozenStep(), 50, 16, 4, "cpu")
    assert record.status == "failed"
    assert str(record.reason).endswith("expected [4, 5, 6, 7]")


def test_a_gain_is_a_ratio_over_the_promised_one() -> None:
    record = sample(FreezeGain(), 75, 16, 4, 3, "cpu")
    assert (record.status, record.unit) == ("ok", "ratio")
    assert record.extra["promised_ratio"] == pytest.approx(0.5)
    assert record.value == pytest.approx(record.extra["measured_ratio"] / 0.5)


def test_a_share_that_is_no_whole_number_of_layers_is_refused() -> None:
    assert sample(FrozenStep(), 30, 16, 4, "cpu").status == "skipped"
