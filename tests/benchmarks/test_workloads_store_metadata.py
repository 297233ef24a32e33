"""Stores' metadata, populations and estimates as workloads: right ones pass, wrong ones fail."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench_core.weight_transfer import birthday, lineage, network, population
from bench_core.weight_transfer.graphs import sequential
from bench_core.weight_transfer.layers import dense
from bench_core.weight_transfer.prefix_index import PrefixIndex
from bench_core.weight_transfer.store import LayerStore
from bench_core.weight_transfer.stores.memory import MemoryShard
from benchmarks import populations
from benchmarks.birthday_estimates import EvolvedPopulation, RandomPopulation
from benchmarks.populations import Evolve, Generate, Materialise
from benchmarks.store_metadata import PUTS, QUESTIONS, Lineage, OpenStore, PutMeta, StoreQuery
from benchmarks.support.layer_stores import ENGINES, Lines
from harness.errors import InputError
from harness.limits import Limits
from harness.records import Record

needs_redis = pytest.mark.skipif(
    shutil.which("redis-server") is None, reason="redis-server is not installed"
)
ENGINE = pytest.mark.parametrize(
    "engine", [pytest.param(name, marks=needs_redis if name == "redis" else ()) for name in ENGINES]
)


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_CORE_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def passed(record: Record) -> bool:
    assert (record.status, record.reason) == ("ok", None)
    return True


def ask(question: str, engine: str, depth: int, records: str) -> Record:
    return Lineage().sample("track_question", question, engine, depth, records)


def value_of(record: Record) -> float:
    assert record.value is not None
    return record.value


def failed(record: Record) -> bool:
    return (record.status, record.value) == ("failed", None)


@ENGINE
def test_each_sample_puts_into_a_store_of_the_same_size(engine: str) -> None:
    benchmark = PutMeta()
    for _ in range(2):
        record = benchmark.sample("track_put", engine, 7, 6)
        assert passed(record)
        assert record.extra["puts_per_second"] == 1 / value_of(record)
        assert benchmark.store.models() == list(range(7))
    held = benchmark.store.usage().references
    assert held == len(benchmark.store.record(0).owners)  # what children held is given back


def test_new_models_inherit_from_the_donor() -> None:
    benchmark = PutMeta()
    benchmark.prepare("memory", 3, 6)
    assert len(benchmark.children) == PUTS
    for record in benchmark.children:
        assert record.parent == 0
        assert 0 < record.owners.count(0) < len(record.owners)


def test_only_durable_engines_have_a_limit() -> None:
    limits, ideal = Limits(fsync_seconds=1e-3), {}
    for engine in ("memory", "files", "lmdb"):
        benchmark = PutMeta()
        benchmark.prepare(engine, 3, 4)
        ideal[engine] = benchmark.ideal_seconds(limits)
    assert ideal == {"memory": None, "files": 1e-3, "lmdb": 1e-3}


def test_a_record_that_is_lost_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = PutMeta()
    assert passed(benchmark.sample("track_put", "memory", 4, 6))
    monkeypatch.setattr(MemoryShard, "publish", lambda *given: None)
    assert failed(benchmark.sample("track_put", "memory", 4, 6))


@ENGINE
def test_a_store_is_opened_again_and_again(engine: str) -> None:
    benchmark = OpenStore()
    records = [benchmark.sample("time_open", engine, 7, 6) for _ in range(2)]
    assert all(map(passed, records))
    assert records[0].extra["models_per_second"] == pytest.approx(7 / value_of(records[0]))


@ENGINE
def test_a_store_finds_donors(engine: str) -> None:
    record = StoreQuery().sample("track_query", engine, 7, 6)
    assert passed(record)
    assert record.extra["queries"] == 50


@pytest.mark.parametrize(("cls", "method"), [(OpenStore, "time_open"), (StoreQuery, "track_query")])
def test_a_store_that_finds_nothing_fails(
    cls: type[OpenStore | StoreQuery], method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LayerStore, "best_prefix", lambda *given: None)
    assert failed(cls().sample(method, "memory", 7, 6))


@ENGINE
@pytest.mark.parametrize("depth", [1, 4])
def test_questions_about_lines_are_answered(engine: str, depth: int) -> None:
    found = [ask(name, engine, depth, how) for name in QUESTIONS for how in ("asked", "known")]
    assert all(map(passed, found))
    assert 1 <= found[0].extra["owners"] <= depth + 1


def test_both_lines_come_from_the_root() -> None:
    store = Lines("memory", depth=3, seed=0).store
    assert lineage.ancestry(store, 3) == (2, 1, 0)
    assert lineage.ancestry(store, 6) == (5, 4, 0)


def test_wrong_answers_about_lines_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lineage, "ancestry", lambda *given: (2, 0))
    monkeypatch.setattr(lineage, "most_recent_common_ancestor", lambda *given: 1)
    monkeypatch.setattr(LayerStore, "owner_map", lambda *given: {b"": 0})
    for name in QUESTIONS:
        assert failed(ask(name, "memory", 3, "asked"))


@pytest.mark.parametrize(("records", "look_ups"), [("asked", 200), ("known", 0)])
def test_known_records_are_not_asked_for(
    records: str, look_ups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    record = MemoryShard.record

    def counted(self: MemoryShard, model: int) -> Any:
        asked.append(model)
        return record(self, model)

    monkeypatch.setattr(MemoryShard, "record", counted)
    benchmark = Lineage()
    benchmark.seed = 91
    benchmark.prepare("owner_map", "memory", 2, records)
    asked.clear()
    benchmark.track_question("owner_map", "memory", 2, records)
    assert len(asked) == look_ups


def generate(way: str, workers: int) -> Record:
    return Generate().sample("time_generate", way, 40, workers)


def test_populations_are_those_of_one_worker() -> None:
    found = [generate("vectorised", 1), generate("vectorised", 2), generate("loop", 1)]
    assert all(map(passed, found))
    assert found[0].extra["bytes_per_model"] == populations.LAYERS * (2 + 8)
    assert generate("loop", 2).status == "skipped"


def test_other_architectures_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    made = population.generate

    def other(space: Any, n: int, seed: int, workers: int = 1) -> Any:
        return made(space, n, seed + workers - 1)

    monkeypatch.setattr(population, "generate", other)
    assert passed(generate("vectorised", 1))
    assert failed(generate("vectorised", 2))


@pytest.mark.parametrize("number", [0, 1])
def test_other_names_fail(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One name for all, and a name more than there are prefixes."""
    looped = populations.looped

    def wrong(*given: Any) -> Any:
        found = looped(*given)
        names = np.zeros_like(found.names) if number == 0 else found.names.copy()
        names[0, 0] = 1
        return dataclasses.replace(found, names=names)

    monkeypatch.setattr(populations, "looped", wrong)
    assert failed(generate("loop", 1))


def test_children_that_are_their_parents_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    assert passed(Evolve().sample("time_evolve", 10, 2, 40))
    monkeypatch.setattr(population, "evolve", lambda parents, *given: parents)
    assert failed(Evolve().sample("time_evolve", 10, 2, 40))


def test_modules_have_the_tensors_of_their_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    for space in ("feed-forward", "dense-skip"):
        assert passed(Materialise().sample("track_models", space, 2))
    other = sequential([dense((3,), 3)])
    materialise = network.materialise

    def wrong(graph: Any, device: str) -> Any:
        made = materialise(graph, device)
        made.graph = other
        return made

    monkeypatch.setattr(network, "materialise", wrong)
    assert failed(Materialise().sample("track_models", "feed-forward", 2))


def test_a_space_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'dense-skip'"):
        Materialise.check_param("space", "dense-skp")


def random_population(n_models: int = 50) -> Record:
    return RandomPopulation().sample("track_z", 3, n_models, 8)


def evolved_population(generations: int) -> Record:
    return EvolvedPopulation().sample("track_ratio", 3, 50, 8, generations)


def test_random_populations_are_as_predicted() -> None:
    record = random_population()
    assert passed(record)
    off = abs(record.extra["measured"] - record.extra["predicted"])
    assert record.value == pytest.approx(off / record.extra["standard_error"])


def test_evolved_populations_share_more_than_random_ones() -> None:
    at_first, later = evolved_population(0), evolved_population(20)
    assert passed(at_first)
    assert passed(later)
    assert at_first.extra["ratio_over_child"] == pytest.approx(1, abs=0.1)
    assert 1 < value_of(at_first) < value_of(later)
    assert later.extra["ratio_over_child"] > 1.05


def test_a_wrong_estimate_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    estimate, child = birthday.estimate, birthday.child
    monkeypatch.setattr(
        birthday,
        "estimate",
        lambda *given: dataclasses.replace(estimate(*given), layers=estimate(*given).layers + 1),
    )
    monkeypatch.setattr(birthday, "child", lambda *given: child(*given) + 1)
    for record in (random_population(), evolved_population(0)):
        assert failed(record)
        assert "standard errors apart" in str(record.reason)


def test_a_prefix_of_another_length_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PrefixIndex, "best", lambda *given: None)
    for record in (random_population(), evolved_population(1)):
        assert failed(record)
        assert "choices agree" in str(record.reason)
