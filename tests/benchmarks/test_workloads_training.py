"""Training and the comparison of weights as workloads: wrong answers fail, ideals follow."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bench_core.models import chain
from bench_core.snapshots import trainer
from bench_core.snapshots.at_cut import AtCut
from bench_core.snapshots.compare import Difference, Level, comparison, difference
from benchmarks.fine_tuning import (
    PARTS,
    FineTuneOrExtract,
    FreezeStudy,
    stage_starts,
    trained_blocks,
)
from benchmarks.fine_tuning import WAYS as TUNING_WAYS
from benchmarks.support.training_base import training_flops
from benchmarks.weight_compare import WAYS, WeightCompare
from harness.errors import InputError, RefusedError
from harness.limits import Limits
from harness.records import Record


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_CORE_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def tune(way: str, architecture: str = "mlp_tiny") -> Record:
    return FineTuneOrExtract().sample("time_tune", way, architecture, 60, 32, 2, "cpu")


def freeze(part: str, stage: int, architecture: str = "resnet_tiny") -> Record:
    return FreezeStudy().sample("time_tune", part, architecture, stage, 60, 32, 1, "cpu")


def compare(way: str, cache: str = "warm") -> Record:
    return WeightCompare().sample("time_compare", way, "mlp_tiny", 1, cache)


@pytest.mark.parametrize("way", TUNING_WAYS)
def test_a_training_leaves_its_epochs_and_its_accuracy(way: str) -> None:
    record = tune(way)
    assert (record.status, record.reason) == ("ok", None)
    if way == "extract":
        assert "accuracy" not in record.extra
    else:
        assert 0 <= record.extra["accuracy"] <= 1
        assert len(record.extra["all_epoch_seconds"]) == 2
        assert sum(record.extra["all_epoch_seconds"]) < record.value


def test_kept_features_train_the_same_head() -> None:
    losses = [tune(way).extra["losses"] for way in ("head", "head_kept")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_one_other_feature_fails_an_extraction(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = AtCut.batch

    def wrong(self: AtCut, indices: Any) -> Any:
        found = batch(self, indices)
        assert isinstance(found, torch.Tensor)
        found[-1, -1] += 1e-3
        return found

    monkeypatch.setattr(AtCut, "batch", wrong)
    record = tune("extract")
    assert (record.status, record.value) == ("failed", None)
    assert record.reason == "the features are not those of the whole chain"


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("stage", [0, 2, 4])
def test_only_the_chosen_stages_change(part: str, stage: int) -> None:
    record = freeze(part, stage)
    assert (record.status, record.reason) == ("ok", None)
    is_one = part == "surgical" and stage < 4
    starts = stage_starts(chain("resnet_tiny"))
    assert record.extra["trained_blocks"] == (
        starts[stage + 1] - starts[stage] if is_one else starts[-1] - starts[stage]
    )
    assert (record.extra["trained_megabytes"] == 0) == (stage == 4)


def test_statistics_of_frozen_batch_norms_that_move_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    assert freeze("surgical", 0).status == "ok"
    monkeypatch.setattr(trainer._Trainee, "train", nn.Module.train)
    record = freeze("surgical", 0)
    assert (record.status, record.value) == ("failed", None)
    assert "changed, expected [0, 1, 2]" in str(record.reason)


def test_blocks_that_should_have_been_trained_but_were_not_fail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.optim.SGD, "step", lambda self: None)
    record = tune("full")
    assert record.status == "failed"
    assert record.reason == "blocks [] changed, expected [0, 1, 2, 3]"


@pytest.mark.parametrize(
    ("architecture", "starts"),
    [
        ("resnet50", [0, 4, 8, 14, 17]),
        ("resnet18", [0, 3, 5, 7, 9]),
        ("mlp_tiny", [0, 1, 2, 3, 4]),
    ],
)
def test_stages_begin_where_the_resolution_halves(architecture: str, starts: list[int]) -> None:
    assert stage_starts(chain(architecture)) == starts


def test_parts_are_ranges_of_blocks() -> None:
    resnet = chain("resnet50")
    assert [trained_blocks(resnet, "last", stage).start for stage in range(5)] == [0, 4, 8, 14, 17]
    assert {trained_blocks(resnet, "last", stage).stop for stage in range(5)} == {17}
    assert trained_blocks(resnet, "surgical", 1) == range(4, 8)
    assert len(trained_blocks(resnet, "surgical", 4)) == 0
    with pytest.raises(RefusedError, match="stage 5 of resnet50; expected 0 to 4"):
        trained_blocks(resnet, "last", 5)


@pytest.mark.parametrize(
    ("trained", "is_kept", "once", "each"),
    [
        # Forward 1 + 10 + 100; the weights' gradients of what is trained; those of the inputs.
        (range(3), False, 0, 111 + 111 + 110),
        (range(2, 3), False, 0, 111 + 100),
        (range(1, 2), False, 0, 111 + 10 + 100),
        (range(1, 2), True, 1, 110 + 10 + 100),
        (range(3, 3), False, 0, 111),
        (range(3, 3), True, 111, 0),
    ],
)
def test_operations_of_a_training(trained: range, is_kept: bool, once: int, each: int) -> None:
    found = training_flops([1, 10, 100], trained, is_kept=is_kept)
    assert found == {"once": once, "each": each}


def test_the_ideal_follows_from_what_must_be_computed() -> None:
    limits = Limits(matmul_flops=1e9)
    ideals = {}
    for way in TUNING_WAYS:
        benchmark = FineTuneOrExtract()
        benchmark.limits = limits
        record = benchmark.sample("time_tune", way, "mlp_tiny", 60, 32, 2, "cpu")
        ideals[way] = record.ideal_seconds or 0.0
    forward = sum(benchmark.block_flops) / 1e9
    assert ideals["extract"] == pytest.approx(60 * forward)
    assert ideals["head_kept"] == pytest.approx(60 * forward)
    assert ideals["head"] == pytest.approx((2 * 48 + 12) * forward)
    assert ideals["full"] > ideals["head"]


@pytest.mark.parametrize("cls", [FineTuneOrExtract, FreezeStudy, WeightCompare])
def test_architectures_that_do_not_exist_are_refused(cls: Any) -> None:
    cls.check_param("architecture", "resnet_tiny")
    with pytest.raises(InputError, match="resnet_tny"):
        cls.check_param("architecture", "resnet_tny")


@pytest.mark.parametrize("way", WAYS)
def test_a_comparison_looks_at_the_bytes_that_were_planned(way: str) -> None:
    record = compare(way)
    assert (record.status, record.reason) == ("ok", None)
    shared, whole = record.extra["shared_bytes"], record.extra["model_bytes"]
    needed = {"levels": shared, "deep_store": whole - shared}.get(way, whole)
    assert record.bytes == 2 * needed > 0


def test_another_level_fails_a_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "level_of", lambda a, b: Level.IDENTICAL)
    for way in ("levels", "deep", "deep_store"):
        record = compare(way)
        assert (record.status, record.value) == ("failed", None)
        assert "levels are" in str(record.reason)


def test_a_wrong_equality_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "equal", lambda a, b: True)
    assert compare("torch_equal").status == "failed"


@pytest.mark.parametrize("field", ["mean", "bits"])
def test_another_difference_fails(monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    def wrong(a: torch.Tensor, b: torch.Tensor) -> Difference:
        found = difference(a, b)
        if field == "mean":
            return dataclasses.replace(found, mean=found.mean * 1.001)
        assert found.bits is not None
        bits = dataclasses.replace(found.bits, zero_bits=found.bits.zero_bits + 1)
        return dataclasses.replace(found, bits=bits)

    monkeypatch.setattr(comparison, "difference", wrong)
    for way in ("deep", "deep_store"):
        record = compare(way)
        assert (record.status, record.value) == ("failed", None)


@pytest.mark.parametrize("own", [0, 99])
def test_more_blocks_than_there_are_are_refused(own: int) -> None:
    record = WeightCompare().sample("time_compare", "levels", "mlp_tiny", own, "warm")
    assert record.status == "skipped"
    assert "trainable blocks" in str(record.reason)


def test_the_ideal_of_a_comparison_is_its_bytes_at_the_limit() -> None:
    benchmark = WeightCompare()
    limits = Limits(sequential_read=1e9, memcpy_all_threads=1e9)
    ideals: Sequence[float | None] = []
    for cache in ("warm", "cold_file"):
        benchmark.prepare("deep", "mlp_tiny", 1, cache)
        ideals = [*ideals, benchmark.ideal_seconds(limits)]
    assert benchmark.nbytes is not None
    assert ideals == [benchmark.nbytes / 2e9, benchmark.nbytes / 1e9]
