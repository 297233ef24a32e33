"""Transfers between processes and by methods: every byte is checked, a dead process is noticed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from bench_core.weight_transfer.methods import StoreMethod
from benchmarks import weight_handover
from benchmarks.support.transfer_ranks import PHASES, RankTask, drawn_net, run_rank
from benchmarks.transfer_methods import METHODS, TransferCost, run_ranks
from benchmarks.weight_handover import FILES, WAYS, Handover
from harness.errors import WrongResultError
from harness.records import Record

NOOP = RankTask({"name": "noop"}, 0, "shallow", 5, 100, 5, 1, 0)


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_CORE_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture(scope="module")
def handover() -> Iterator[Handover]:
    yield Handover()
    weight_handover._stop(weight_handover._consumer())
    weight_handover._consumer.cache_clear()


def cost(method: str, *, net: str = "shallow", n_models: int = 12) -> Record:
    # Few widths and layers, so that models have layers in common.
    return TransferCost().sample("track_model", method, net, 1, n_models, 4, 4, 1)


@pytest.mark.parametrize("way", WAYS)
def test_a_model_is_handed_over_and_nothing_stays(way: str, handover: Handover, data: Path) -> None:
    record = handover.sample("track_latency", way, 1)
    assert (record.status, record.reason) == ("ok", None)
    assert record.value is not None
    assert record.value == pytest.approx(sum(record.extra["phases"].values()))
    assert 0 < record.extra["blocked_seconds"] <= record.value
    assert record.bytes == Handover.planned_bytes(mebibytes=1)
    assert handover.path is None or not handover.path.exists()
    assert handover.segment is None
    assert not list(data.rglob("*written*"))


def test_other_bytes_than_the_producer_s_fail(
    handover: Handover, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench_core.models.digests.tensors_digest", lambda tensors: b"another")
    record = handover.sample("track_latency", "socket", 1)
    assert (record.status, record.reason) == ("failed", "the consumer got other bytes")
    monkeypatch.undo()
    assert handover.sample("track_latency", "pipe", 1).status == "ok"


def test_a_consumer_that_died_fails_one_sample_and_is_replaced(handover: Handover) -> None:
    assert handover.sample("track_latency", "pipe", 1).status == "ok"
    process = handover.consumer.process
    process.kill()
    process.join()
    assert handover.sample("track_latency", "pipe", 1).status == "failed"
    assert handover.sample("track_latency", "shared_memory", 1).status == "ok"
    assert handover.consumer.process is not process


def test_every_file_names_a_format_and_a_place() -> None:
    assert {name.rpartition("_")[2] for name in FILES} == {"disk", "shm"}


@pytest.mark.parametrize("method", METHODS)
def test_a_method_states_its_phases(method: str, data: Path) -> None:
    record = cost(method)
    if record.status == "skipped":
        pytest.skip(str(record.reason))
    assert (record.status, record.reason) == ("ok", None)
    phases = record.extra["phases"]
    assert tuple(phases) == PHASES
    assert record.value == pytest.approx(sum(phases.values()))
    for phase, percent in itertools.product(PHASES, (50, 95)):
        assert record.extra[f"{phase}_p{percent}_seconds"] >= 0
    assert (record.extra["transferred_share"] > 0) == (method != "noop")
    assert not list(data.rglob("*.safetensors"))


def test_what_searches_all_models_transfers_at_least_what_a_hint_gives() -> None:
    shares = {
        method: cost(method, n_models=20).extra["transferred_share"]
        for method in ("file_safetensors", "store_files", "store_lmdb")
    }
    assert shares["store_files"] == shares["store_lmdb"] >= shares["file_safetensors"] > 0


def test_a_model_that_is_not_what_was_stored_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    get = StoreMethod.get

    def wrong(self: StoreMethod, model: int) -> dict[str, torch.Tensor]:
        return {name: tensor + 1 for name, tensor in get(self, model).items()}

    monkeypatch.setattr(StoreMethod, "get", wrong)
    record = cost("store_files")
    assert (record.status, record.reason) == ("failed", "model 0 is not what was stored")


def test_networks_are_drawn_as_published_and_the_same_for_a_seed() -> None:
    def drawn(net: str) -> list[tuple[int, int]]:
        task = RankTask({}, 0, net, 0, max_layer_size=10, max_layers=4, scale=3, seed=0)
        rng = np.random.default_rng(0)
        return [drawn_net(task, rng) for _ in range(300)]

    small, shallow = drawn("small"), drawn("shallow")
    assert {width for width, _ in small} == {3 * width for width in range(1, 10)}
    assert {count for _, count in small} == {1}
    assert {count for _, count in shallow} == {1, 2, 3}
    assert shallow == drawn("shallow")


def test_ranks_draw_other_networks_but_the_same_ones_again() -> None:
    first, again = run_rank(NOOP), run_rank(NOOP)
    assert first.digests == again.digests
    other = run_rank(RankTask({"name": "noop"}, 1, "shallow", 5, 100, 5, 1, 0))
    assert not first.digests.keys() & other.digests.keys()
    assert not set(first.digests.values()) & set(other.digests.values())
    assert all(math.isfinite(s) for phase in PHASES for s in first.seconds[phase])


@pytest.mark.slow
def test_processes_give_what_one_gives_and_a_failed_one_is_told() -> None:
    other = RankTask({"name": "noop"}, 1, "shallow", 5, 100, 5, 1, 0)
    results = run_ranks([NOOP, other])
    assert [result.digests for result in results] == [
        run_rank(NOOP).digests,
        run_rank(other).digests,
    ]
    bad = RankTask({"name": "nothing"}, 1, "shallow", 5, 100, 5, 1, 0)
    with pytest.raises(WrongResultError, match=r"process 1: UnknownNameError|BrokenBarrier"):
        run_ranks([NOOP, bad])


def test_an_unknown_method_or_no_process_is_refused() -> None:
    assert cost("nothing").status == "skipped"
    record = TransferCost().sample("track_model", "noop", "small", 0, 1, 10, 5, 1)
    assert record.status == "skipped"
