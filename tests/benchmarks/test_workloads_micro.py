"""Merged models, chains and branches as workloads: wrong answers fail, counts are what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bench_core.model_search.merged import MergedModel
from bench_core.models.chains import chain, chain_names
from benchmarks import branches, chain_forms
from benchmarks.branches import BranchBytes, IoOrCompute, blocks_while_reading
from benchmarks.chain_forms import LibraryOrChain
from benchmarks.merged_models import InTurnOrMerged, MergeModels, NativelyOrMerged
from benchmarks.support.models_in_memory import models_with_heads
from harness.errors import InputError
from harness.limits import Limits
from harness.records import Record

TINY = [name for name in chain_names() if name.endswith("_tiny")]


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_CORE_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def merge(keys: str = "known", architecture: str = "mlp_tiny") -> Record:
    return MergeModels().sample("time_merge", keys, architecture, 5, "TOP_LAYERS")


def in_turn(form: str, architecture: str = "mlp_tiny") -> Record:
    return InTurnOrMerged().sample("time_forward", form, architecture, 3, 4, 32)


def io(read_rate: int | str, limits: Limits | None = None) -> Record:
    benchmark = IoOrCompute()
    benchmark.limits = limits
    return benchmark.sample("track_blocks", read_rate, "resnet_tiny", 4, 32)


@pytest.mark.parametrize("architecture", ["resnet_tiny", "vit_tiny"])
def test_known_and_computed_keys_find_the_same_tree(architecture: str) -> None:
    found = [merge(keys, architecture) for keys in ("known", "computed")]
    assert [(record.status, record.reason) for record in found] == [("ok", None)] * 2
    assert found[0].extra == found[1].extra
    extra = found[0].extra
    n_blocks = len(chain(architecture).blocks)
    assert n_blocks < extra["blocks"] < extra["blocks_of_models"] == 5 * n_blocks


def test_a_head_with_another_output_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = MergedModel.forward

    def wrong(self: MergedModel, inputs: Any) -> list[torch.Tensor]:
        first, *others = forward(self, inputs)
        return [first, *others[:-1], others[-1] + 1]

    monkeypatch.setattr(MergedModel, "forward", wrong)
    for record in (merge(), in_turn("merged")):
        assert (record.status, record.value) == ("failed", None)
        assert str(record.reason).startswith("1 heads differ from their models")


def test_a_head_that_is_missing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = MergedModel.forward
    monkeypatch.setattr(MergedModel, "forward", lambda *given: forward(*given)[1:])
    assert merge().reason == "4 heads of 5 models"


@pytest.mark.parametrize("architecture", TINY)
def test_all_forms_of_models_with_heads_agree(architecture: str) -> None:
    found = [in_turn(form, architecture) for form in ("in_turn", "merged", "whole")]
    heads = NativelyOrMerged()
    found += [
        heads.sample("time_forward", form, architecture, 3, 4, 32) for form in ("native", "merged")
    ]
    assert [(record.status, record.reason) for record in found] == [("ok", None)] * 5


@pytest.mark.parametrize("architecture", TINY)
def test_heads_of_different_models_differ(architecture: str) -> None:
    models = models_with_heads(architecture, 3, seed=0)
    assert 0 < models.tail < len(models.specs)
    assert len({tuple(keys[: models.tail]) for keys in models.keys}) == 1
    assert len({tuple(keys[models.tail :]) for keys in models.keys}) == 3


def test_whole_models_have_more_to_compute() -> None:
    limits, ideal = Limits(matmul_flops=1e9), {}
    for form in ("in_turn", "merged", "whole"):
        benchmark = InTurnOrMerged()
        benchmark.prepare(form, "resnet_tiny", 3, 4, 32)
        ideal[form] = benchmark.ideal_seconds(limits)
    assert ideal["in_turn"] == ideal["merged"]
    assert ideal["merged"] is not None
    assert ideal["whole"] is not None
    assert ideal["merged"] < ideal["whole"] < 3 * ideal["merged"]


@pytest.mark.parametrize("architecture", TINY)
def test_library_and_chain_agree(architecture: str) -> None:
    benchmark = LibraryOrChain()
    for form in ("library", "chain"):
        record = benchmark.sample("time_forward", form, architecture, 2, 3, 32)
        assert (record.status, record.reason) == ("ok", None)


def test_a_chain_of_other_weights_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    both_forms = chain_forms.both_forms

    def wrong(architecture: str, seed: int) -> chain_forms.Forms:
        other = both_forms(architecture, seed + 1)
        return both_forms(architecture, seed)._replace(chain=other.chain)

    monkeypatch.setattr(chain_forms, "both_forms", wrong)
    benchmark = LibraryOrChain()
    benchmark.seed = 77
    record = benchmark.sample("time_forward", "library", "mlp_tiny", 2, 3, 32)
    assert record.status == "failed"
    assert "not those of the library" in str(record.reason)


@pytest.mark.parametrize("architecture", TINY)
def test_intermediate_results_are_as_large_as_planned(architecture: str) -> None:
    record = BranchBytes().sample("track_bytes", architecture, 10, 32)
    assert (record.status, record.reason, record.unit) == ("ok", None, "bytes")
    assert record.value == 10 * record.extra["bytes_an_item"]


def test_the_intermediate_results_of_resnet18() -> None:
    """The published output sizes, in numbers of four bytes."""
    record = BranchBytes().sample("track_bytes", "resnet18", 1, 224)
    assert record.value == 4 * (3 * 200704 + 2 * 100352 + 2 * 50176 + 25088 + 512)


def test_another_size_than_planned_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    output_bytes = branches.output_bytes
    monkeypatch.setattr(
        branches, "output_bytes", lambda *given: [1 + count for count in output_bytes(*given)]
    )
    record = BranchBytes().sample("track_bytes", "mlp_tiny", 10, 33)
    assert (record.status, record.value) == ("failed", None)


@pytest.mark.parametrize(
    ("read", "counts"),
    [
        ([0.5, 0.5, 0.5], [0, 0, 0]),
        ([1.0, 1.0, 1.0], [1, 0, 1]),
        ([3.0, 2.5, 9.0], [2, 1, 1]),
        ([9.0, 9.0, 9.0], [3, 2, 1]),
    ],
)
def test_blocks_that_end_while_an_input_is_read(read: list[float], counts: list[int]) -> None:
    assert blocks_while_reading([1.0, 2.0, 1.0], read) == counts


def test_counts_follow_from_the_disk_and_the_measured_blocks() -> None:
    record = io(1000)
    assert (record.status, record.reason, record.unit) == ("ok", None, "blocks")
    n_blocks = len(chain("resnet_tiny").blocks)
    extra = record.extra
    assert len(extra["counts"]) == len(extra["block_seconds"]) == n_blocks
    assert record.value == sum(extra["counts"]) / n_blocks
    assert extra["read_seconds"][0] == 4 * 3 * 32 * 32 * 4 / 1e9


def test_a_disk_without_end_is_never_waited_for_and_a_slow_one_always() -> None:
    n_blocks = len(chain("resnet_tiny").blocks)
    assert io("limit", Limits(sequential_read=1e30)).value == 0
    assert io("limit", Limits(sequential_read=1e-3)).extra["counts"] == [*range(n_blocks, 0, -1)]


@pytest.mark.parametrize("limits", [None, Limits()])
def test_without_a_probe_the_limit_is_refused(limits: Limits | None) -> None:
    record = io("limit", limits)
    assert (record.status, record.reason) == (
        "skipped",
        "the read limit of this machine was not probed",
    )


@pytest.mark.parametrize(
    "cls", [MergeModels, NativelyOrMerged, InTurnOrMerged, LibraryOrChain, BranchBytes, IoOrCompute]
)
def test_an_architecture_that_does_not_exist_is_refused(cls: Any) -> None:
    cls.check_param("architecture", "resnet18")
    with pytest.raises(InputError, match="did you mean 'resnet18'"):
        cls.check_param("architecture", "resnet19")
