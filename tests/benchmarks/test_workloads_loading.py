"""Loading, inference and both: what is wrong fails, what means nothing is refused, limits limit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bench_core.models.chains import run_chain
from benchmarks.data_loading import LOADERS, WITHOUT_WORKERS, DataLoading, WorkersAndBatchSize
from benchmarks.inference import InferenceBySize, LargestBatch, require_alike
from benchmarks.support import chain_inputs, loading_items
from benchmarks.support.batch_limit import BatchLimit
from benchmarks.support.loading_items import KINDS, Items, data_set, expected_item, item_files
from harness.errors import InputError, WrongResultError
from harness.limits import Limits
from harness.records import Record


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_CORE_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def load(loader: str, kind: str, workers: int = 0, cache: str = "warm") -> Record:
    return DataLoading().sample("track_waited", loader, kind, 4, workers, 0.0, 2, cache)


def both(workers: int, architecture: str = "vit_tiny", kind: str = "jpeg") -> Record:
    benchmark = WorkersAndBatchSize()
    return benchmark.sample("time_end_to_end", workers, 4, architecture, kind, 10)


def infer(architecture: str = "resnet_tiny", batch_size: int = 4) -> Record:
    return InferenceBySize().sample("time_forward", architecture, batch_size, 32, "cpu")


@pytest.mark.parametrize("kind", KINDS)
def test_every_loader_gives_the_items_of_the_files(kind: str) -> None:
    paths = item_files(kind, 5, 0, 64)
    items, whole = Items(kind, paths, 64), data_set(kind, paths, 64)
    batch = whole.batch(range(5))
    assert isinstance(batch, torch.Tensor)
    for index, path in enumerate(paths):
        expected = expected_item(kind, path, index, 0, 64)
        assert expected.shape == (3, 64, 64)
        assert torch.equal(items[index][0], expected)
        assert torch.equal(batch[index], expected)
        assert items[index][1] == whole.labels[index]


@pytest.mark.parametrize("loader", LOADERS)
def test_the_waits_are_those_of_the_record(loader: str) -> None:
    record = load(loader, "jpeg")
    assert (record.status, record.reason, record.unit) == ("ok", None, "seconds")
    extra = record.extra
    assert len(extra["batch_seconds"]) == 2
    assert record.value == pytest.approx(sum(extra["batch_seconds"]))
    assert extra["milliseconds_per_item"] == pytest.approx(1e3 * record.value / 8)
    assert extra["first_batch_seconds"] == extra["batch_seconds"][0]


def test_what_the_consumer_does_after_a_batch_is_not_waited_for() -> None:
    values = ("torch", "preprocessed", 4, 0, 0.5, 2, "warm")
    record = DataLoading().sample("track_waited", *values)
    assert record.status == "ok"
    assert record.value is not None
    assert record.value < 0.5


@pytest.mark.parametrize("loader", WITHOUT_WORKERS)
def test_a_thread_has_no_workers(loader: str) -> None:
    record = load(loader, "jpeg", workers=2)
    assert record.status == "skipped"
    assert "starts no workers" in str(record.reason)


def test_a_cold_load_states_the_bytes_of_its_files(data: Path) -> None:
    record = load("torch", "preprocessed", cache="cold_file")
    files = list(data.glob("loading_items/*/*.pt"))
    assert record.status in ("ok", "skipped"), record.reason
    if record.status == "ok":
        assert record.bytes == sum(file.stat().st_size for file in files)
    assert load("torch", "preprocessed").bytes is None


def test_a_loader_in_another_order_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    get = Items.__getitem__
    monkeypatch.setattr(Items, "__getitem__", lambda self, index: get(self, index ^ 1))
    record = load("torch", "preprocessed")
    assert (record.status, record.value) == ("failed", None)
    assert record.reason == "item 0 is not what its file holds"


def test_a_file_that_changed_fails(data: Path) -> None:
    assert load("library", "preprocessed").status == "ok"
    (first, *_) = sorted(data.glob("loading_items/*/*.pt"))
    item = torch.load(first, weights_only=True)
    item[0, 0, 0] += 1
    torch.save(item, first)
    assert load("library", "preprocessed").status == "failed"


def test_items_are_made_once_and_fewer_are_the_first_of_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few = item_files("png", 2, 0)
    times = [path.stat().st_mtime_ns for path in few]
    more = item_files("png", 4, 0)
    assert more[:2] == few
    assert [path.stat().st_mtime_ns for path in few] == times
    monkeypatch.setattr(loading_items, "_writer", None)
    assert item_files("png", 3, 0) == more[:3]
    assert len({path.read_bytes() for path in more}) == 4


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["jpeg", "preprocessed"])
def test_a_model_gets_all_items_by_any_loader(workers: int, kind: str) -> None:
    record = both(workers, kind=kind)
    assert (record.status, record.reason) == ("ok", None)
    phases = record.extra["phases"]
    assert set(phases) == {"prepare_data", "inference"}
    assert sum(phases.values()) <= record.value


def test_a_lost_batch_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Items, "__len__", lambda self: 8)
    record = both(0)
    assert (record.status, record.reason) == ("failed", "8 features of 10 items")


def test_a_model_of_texts_takes_no_images() -> None:
    assert both(0, "bert_tiny").status == "skipped"


@pytest.mark.parametrize("architecture", ["resnet_tiny", "vit_tiny", "bert_tiny", "mlp_tiny"])
@pytest.mark.parametrize("batch_size", [1, 5])
def test_inference_of_every_kind_of_input(architecture: str, batch_size: int) -> None:
    benchmark = InferenceBySize()
    benchmark.limits = Limits(matmul_flops=1e9)
    values = (architecture, batch_size, 32, "cpu")
    record = benchmark.sample("time_forward", *values)
    assert (record.status, record.reason) == ("ok", None)
    assert record.ideal_seconds == pytest.approx(record.extra["gflop"])
    milliseconds = 1e3 * float(record.value or 0) / batch_size
    assert record.extra["milliseconds_per_item"] == pytest.approx(milliseconds)


def test_features_that_depend_on_the_others_of_a_batch_fail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def mixed(modules: Any, given: Any) -> torch.Tensor:
        with torch.inference_mode():
            features = run_chain(modules, given)
            return features - 0.1 * features.mean(0)

    monkeypatch.setattr(chain_inputs, "forward_chain", mixed)
    record = infer()
    assert (record.status, record.value) == ("failed", None)
    assert "from those of the item alone" in str(record.reason)


def test_features_that_are_no_numbers_are_not_alike() -> None:
    ones = torch.ones(1, 4)
    require_alike(ones, ones + 1e-6, "they")
    for wrong in (ones + 1e-3, ones * float("nan")):
        with pytest.raises(WrongResultError, match="they differ"):
            require_alike(wrong, ones, "they")


@pytest.mark.parametrize(
    ("cls", "name", "value"),
    [
        (DataLoading, "cache", "tepid"),
        (InferenceBySize, "architecture", "resnet_tny"),
        (LargestBatch, "architecture", "resnet_tny"),
        (WorkersAndBatchSize, "architecture", "resnet_tny"),
        (WorkersAndBatchSize, "kind", "gif"),
    ],
)
def test_names_that_mean_nothing_are_refused(cls: Any, name: str, value: str) -> None:
    with pytest.raises(InputError, match=value):
        cls.check_param(name, value)


class Pretended(BatchLimit):
    """A limit that a given batch is the largest to fit."""

    def __init__(self, largest: int) -> None:
        super().__init__("mlp_tiny", 32, 1000, "cpu")
        self.most, self.asked = largest, list[int]()

    def _fits(self, items: int) -> bool:
        self.asked.append(items)
        if items <= self.most:
            return True
        self.refused = items
        return False


@pytest.mark.parametrize("most", [0, 1, 2, 3, 16, 17, 100, 1000])
def test_the_search_ends_close_below_the_first_refusal(most: int) -> None:
    doubled, bisected = Pretended(most), Pretended(most)
    found = doubled.largest(bisect=False)
    assert found <= most < max(1, 2 * found)
    found = bisected.largest(bisect=True)
    assert found <= most
    assert bisected.refused is not None
    assert bisected.refused - found <= max(1, found // 16)
    assert len(set(bisected.asked)) == len(bisected.asked)


@pytest.mark.skipif("sys.platform != 'linux'", reason="only Linux limits private memory")
def test_more_memory_takes_a_larger_batch() -> None:
    found = []
    for megabytes in (16, 64):
        values = ("mlp_tiny", megabytes, 32, "doubled", "cpu")
        record = LargestBatch().sample("track_items", *values)
        assert (record.status, record.reason, record.unit) == ("ok", None, "items")
        assert record.extra["peak_megabytes"] <= megabytes
        assert record.extra["refused_items"] == 2 * record.value
        assert record.extra["refused_reason"]
        found.append(float(record.value or 0))
    assert 2 * found[0] <= found[1] <= 8 * found[0]


def test_a_process_that_dies_counts_as_refused_and_another_error_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from bench_core.errors import SaveError

    class Dying:
        message = "the process died (signal 6): terminate called"

        def send(self, request: dict[str, Any]) -> None: ...
        def receive(self) -> dict[str, Any]:
            raise SaveError(self.message)

    limit = BatchLimit("mlp_tiny", 32, 1000, "cpu")
    monkeypatch.setattr(BatchLimit, "_running", lambda self: Dying())
    assert limit.largest(bisect=True) == 0
    assert (limit.refused, limit.reason) == (1, Dying.message)
    Dying.message = "RuntimeError: shapes differ"
    with pytest.raises(SaveError, match="shapes differ"):
        limit.largest(bisect=False)


def test_no_batch_at_all_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BatchLimit, "_fits", lambda self, items: False)
    record = LargestBatch().sample("track_items", "mlp_tiny", 64, 32, "doubled", "cpu")
    assert record.status == "failed"
    assert "no batch at all fits" in str(record.reason)
