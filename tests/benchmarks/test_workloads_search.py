"""Searches, block loads and proxy scores as workloads: wrong answers fail, ideals follow."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

from bench_core.model_search import SearchResult
from bench_core.model_search.proxies import Score, Task
from bench_core.model_search.proxies.linear import Linear
from bench_core.snapshots import SnapshotStore
from benchmarks.block_store import WAYS, BlockStoreLoad
from benchmarks.model_search import CombinedSearch, MemoryLimit, Search, TrainedSearch
from benchmarks.proxy_scores import PROXIES, ProxyScores
from benchmarks.support.common import Tensors
from benchmarks.support.loaders import FormatLoader
from benchmarks.support.model_sets import search_data
from benchmarks.support.search_base import HALVING, SearchBenchmark
from harness.errors import InputError
from harness.limits import Limits
from harness.records import Record

PHASES = {"planning", "prepare_model", "prepare_data", "inference", "proxy_score"}


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_CORE_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def search(
    engine: str, architecture: str = "mlp_tiny", items: int = 100, device: str = "cpu"
) -> Record:
    return taken(
        Search, engine=engine, architecture=architecture, n_models=5, items=items, device=device
    )


def values_of(cls: type[SearchBenchmark], **given: Any) -> list[Any]:
    """The values of a small case: the class's first ones, unless they are given."""
    named = {"items": 100, **given}
    return [named.get(n, v[0]) for n, v in zip(cls.param_names, cls.params, strict=True)]


def taken(cls: type[SearchBenchmark], **given: Any) -> Record:
    return cls().sample("time_search", *values_of(cls, **given))


def load(way: str, cache: str = "warm") -> Record:
    return BlockStoreLoad().sample("time_load", way, "TOP_LAYERS", "mlp_tiny", 4, cache)


def test_engines_that_halve_alike_must_find_one_winner(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [search(engine, "resnet_tiny", 200) for engine in HALVING]
    assert [(record.status, record.reason) for record in found] == [("ok", None)] * len(found)
    assert len({record.extra["winner"] for record in found}) == 1
    run_search = SearchBenchmark.run_search

    def turned(self: SearchBenchmark) -> SearchResult:
        found = run_search(self)
        return dataclasses.replace(found, ranking=found.ranking[::-1])

    monkeypatch.setattr(SearchBenchmark, "run_search", turned)
    record = search("shared", "resnet_tiny", 200)
    assert (record.status, record.value) == ("failed", None)


@pytest.mark.parametrize("engine", HALVING)
def test_a_record_has_phases_counters_and_ranking(engine: str) -> None:
    record = search(engine)
    assert set(record.extra["phases"]) == PHASES
    assert sum(record.extra["phases"].values()) <= record.value
    assert record.extra["block_executions"] > 0
    assert record.extra["distinct_bytes"] > 0
    assert len(record.extra["ranking"].split(" > ")) == 5


def test_one_other_score_fails_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    assert search("alsatian").status == "ok"
    score = Linear.score

    def wrong(self: Linear, features: Any, task: Task, seed: int) -> list[Score]:
        first, *others = score(self, features, task, seed)
        return [dataclasses.replace(first, loss=(first.loss or 0.0) + 1e-9), *others]

    monkeypatch.setattr(Linear, "score", wrong)
    record = search("shared")
    assert (record.status, record.value) == ("failed", None)
    assert record.reason == "shared gives other scores than the engine before it"


def test_a_search_on_a_gpu_is_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    record = search("shared", device="cuda")
    assert (record.status, record.value) == ("skipped", None)
    assert record.reason == "no CUDA device is available to torch here"


@pytest.mark.parametrize(("turn", "status"), [(False, "ok"), (True, "failed")])
def test_devices_must_rank_alike(turn: bool, status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device stands in whose scores differ a little: that is allowed, another ranking is not."""
    assert search("shared").status == "ok"
    check = SearchBenchmark._check_scores

    def on_another(self: SearchBenchmark) -> None:
        found = self.result
        last = found.rounds[-1]
        scores = tuple(dataclasses.replace(s, loss=(s.loss or 0.0) + 1e-6) for s in last.scores)
        self.result = dataclasses.replace(
            found,
            rounds=(*found.rounds[:-1], dataclasses.replace(last, scores=scores)),
            ranking=found.ranking[::-1] if turn else found.ranking,
        )
        self.timer.device = "another"
        check(self)

    monkeypatch.setattr(SearchBenchmark, "_check_scores", on_another)
    record = search("shared")
    assert record.status == status, record.reason
    assert not turn or record.reason == "shared ranks otherwise on another than elsewhere"


def test_a_budget_changes_no_score() -> None:
    for engine in ("alsatian", "shared"):
        for budget in (1, 80):
            record = taken(MemoryLimit, engine=engine, budget_mb=budget, n_models=5)
            assert (record.status, record.reason) == ("ok", None)


@pytest.mark.parametrize("engine", ["base", "base_tuned", "shift"])
def test_an_engine_without_a_budget_is_refused_under_one(engine: str) -> None:
    record = taken(MemoryLimit, engine=engine, budget_mb=1, n_models=5)
    assert (record.status, record.reason) == ("skipped", f"the engine {engine} keeps to no budget")


def test_batches_and_workers_are_those_of_the_case() -> None:
    """Batches decide over a score's bits, workers do not, and each has its own ideal."""
    case = {"architecture": "resnet_tiny", "n_models": 5}
    for batch_size, num_workers in ((32, 0), (128, 0), (128, 2)):
        chosen = {**case, "batch_size": batch_size, "num_workers": num_workers}
        found = [taken(Search, engine=engine, **chosen) for engine in ("shift", "shared")]
        assert [(record.status, record.reason) for record in found] == [("ok", None)] * 2


@pytest.mark.parametrize("batch_size", [16, 64])
def test_the_ideal_is_of_the_case_s_batches(batch_size: int) -> None:
    benchmark = Search()
    values = values_of(Search, engine="shared", n_models=5, batch_size=batch_size)
    benchmark.prepare(*values)
    benchmark.time_search(*values)
    assert benchmark.rates.batch_size == batch_size
    assert benchmark.result.settings["batch_size"] == batch_size
    once = dict.fromkeys(benchmark.rates.seconds, 1.0)
    benchmark.rates = dataclasses.replace(benchmark.rates, seconds=once)
    proxy = benchmark.result.work.seconds["proxy_score"]
    ideal = benchmark.ideal_seconds(Limits())
    assert ideal is not None
    runs = (ideal - proxy) * batch_size
    assert runs == pytest.approx(round(runs))


def test_models_are_trained_on_a_folder_of_data_sets(tmp_path: Path) -> None:
    for index, name in enumerate(("cars", "dogs")):
        _write_images(tmp_path / "sets" / name, index)
    sets = str(tmp_path / "sets")
    chosen = {"architecture": "resnet_tiny", "n_models": 3, "epochs": 1, "items": 20, "size": 16}
    record = taken(TrainedSearch, engine="shared", sources=sets, data=f"{sets}/dogs", **chosen)
    assert (record.status, record.reason) == ("ok", None)
    (folder,) = (tmp_path / "data" / "model_sets").iterdir()
    origins = [
        SnapshotStore(folder).snapshot(name).origin for name in SnapshotStore(folder).names()
    ]
    assert sorted(origin["source"] for origin in origins) == ["cars", "cars", "dogs"]
    with pytest.raises(InputError, match="nowhere"):
        TrainedSearch.check_param("sources", "nowhere")


def _write_images(folder: Path, seed: int) -> None:
    from PIL import Image

    generator = torch.Generator().manual_seed(seed)
    for split, name in itertools.product(("train", "test"), ("a", "b")):
        (folder / split / name).mkdir(parents=True)
        for index in range(8):
            pixels = torch.randint(0, 256, (16, 16, 3), generator=generator, dtype=torch.uint8)
            Image.fromarray(pixels.numpy()).save(folder / split / name / f"{index}.png")


def test_sets_of_several_architectures_are_searched_as_one() -> None:
    record = taken(CombinedSearch, engine="shared", n_models=2)
    assert (record.status, record.reason) == ("ok", None)
    ranked = record.extra["ranking"]
    assert {name.partition("-")[0] for name in ranked.split(" > ")} == {"mlp_tiny", "mlp_deep"}


def test_the_ideal_of_a_cold_search_is_no_less_than_its_bytes_at_the_limit() -> None:
    benchmark = Search()
    values = values_of(Search, engine="shared", n_models=5, cache="cold_file")
    benchmark.prepare(*values)
    benchmark.time_search(*values)
    distinct, proxy = benchmark._distinct_bytes(), benchmark.result.work.seconds["proxy_score"]
    slow, fast = Limits(sequential_read=1.0), Limits(sequential_read=1e15)
    assert benchmark.ideal_seconds(slow) == pytest.approx(distinct + proxy)
    computing = benchmark.ideal_seconds(fast)
    assert computing is not None
    assert computing > proxy
    assert benchmark.ideal_seconds(Limits()) == computing


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("engine", "shred"),
        ("architecture", "resnet_tny"),
        ("distribution", "TOP"),
        ("cache", "hot"),
        ("data", "nowhere/at/all"),
    ],
)
def test_names_that_mean_nothing_are_refused(name: str, value: str) -> None:
    with pytest.raises(InputError, match=value):
        Search.check_param(name, value)


def test_each_of_several_architectures_is_checked() -> None:
    CombinedSearch.check_param("architectures", "mlp_tiny+resnet_tiny")
    with pytest.raises(InputError, match="mlp_tny"):
        CombinedSearch.check_param("architectures", "resnet_tiny+mlp_tny")
    with pytest.raises(InputError, match="liner"):
        ProxyScores.check_param("proxy", "liner")


@pytest.mark.parametrize(("items", "n_train"), [(2000, 1600), (8000, 6400), (100, 80)])
def test_four_fifths_of_the_items_are_to_learn_from(items: int, n_train: int) -> None:
    from bench_core.models import chain

    found = search_data(chain("mlp_tiny").input, items, 32)
    assert (len(found.train), len(found.test)) == (n_train, items - n_train)


@pytest.mark.parametrize("way", WAYS)
def test_each_way_loads_what_the_store_holds(way: str) -> None:
    record = load(way)
    assert (record.status, record.reason) == ("ok", None)
    extra = record.extra
    shares = extra["loaded_bytes"] == extra["distinct_bytes"]
    assert shares == (way != "torch_models")
    assert (extra["files"] == 4) == (way == "torch_models")


def test_one_wrong_bit_fails_a_load_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    read = FormatLoader.load

    def wrong(self: FormatLoader, *arguments: Any) -> Tensors:
        loaded = read(self, *arguments)
        next(iter(loaded.values())).view(-1).view(torch.uint8)[0] ^= 1
        return loaded

    monkeypatch.setattr(FormatLoader, "load", wrong)
    record = load("torch_models")
    assert (record.status, record.value) == ("failed", None)
    assert str(record.reason).startswith("1 tensors differ")


def test_the_list_of_proxies_is_that_of_the_library() -> None:
    from bench_core.model_search import proxies

    assert set(PROXIES) == set(proxies.names())


def test_a_score_that_depends_on_the_other_models_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    score = Linear.score

    def shifted(self: Linear, features: Any, task: Task, seed: int) -> list[Score]:
        found = score(self, features, task, seed)
        return [dataclasses.replace(one, value=one.value + len(found)) for one in found]

    monkeypatch.setattr(Linear, "score", shifted)
    record = ProxyScores().sample("time_score", "linear", 3, 100, 16)
    assert record.status == "failed"
    assert "has another score alone" in str(record.reason)
