"""Layer names and queries for donors as workloads: contenders agree, wrong answers fail."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest

from bench_core.weight_transfer.prefix import Match
from bench_core.weight_transfer.prefix_index import PrefixIndex
from benchmarks import layer_names, mpi_queries
from benchmarks.layer_names import LayerNames
from benchmarks.mpi_queries import MpiQuery
from benchmarks.prefix_queries import CONTENDERS, ConcurrentReaders, PrefixQuery
from benchmarks.support.child_processes import library_file
from benchmarks.support.prefix_populations import StoredNames
from benchmarks.support.prefix_readers import read_at_once
from benchmarks.support.query_times import latencies, timed
from harness.errors import HarnessError, InputError
from harness.records import Record

needs_redis = pytest.mark.skipif(
    shutil.which("redis-server") is None, reason="redis-server is not installed"
)
needs_mpi = pytest.mark.skipif(shutil.which("mpiexec") is None, reason="mpiexec is not installed")
CONTENDER = pytest.mark.parametrize(
    "contender",
    [pytest.param(name, marks=needs_redis if "redis" in name else ()) for name in CONTENDERS],
)
SPACE = pytest.mark.parametrize(("space", "layers"), [("chain", 8), ("skip", 2)])


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_CORE_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def query(contender: str, match: int, space: str = "chain", layers: int = 8) -> Record:
    return PrefixQuery().sample("track_query", contender, 30, match, layers, space)


def readers(contender: str, count: int = 2) -> Record:
    return ConcurrentReaders().sample("track_makespan", contender, count, 30, 50, 8)


@pytest.mark.parametrize("digest", layer_names.DIGESTS)
@pytest.mark.parametrize("space", layer_names.SPACES)
def test_layers_are_named(digest: str, space: str) -> None:
    record = LayerNames().sample("track_names", digest, space, 3)
    assert (record.status, record.reason) == ("ok", None)
    assert record.extra["layers_of_models"] > layer_names.GRAPHS


def test_names_that_say_only_the_position_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(layer_names._NAMES, "blake2b", lambda graph: list(range(len(graph))))
    record = LayerNames().sample("track_names", "blake2b", "feed-forward", 3)
    assert (record.status, record.value) == ("failed", None)


@SPACE
def test_queries_have_as_much_in_common_as_they_say(space: str, layers: int) -> None:
    stored = StoredNames(space, 20, layers, seed=3)
    assert [stored.best(0, n, child) for n, child in enumerate(stored.queries(0, 5))] == [None] * 5
    for match, share in ((50, 0.5), (100, 1.0)):
        for number, child in enumerate(stored.queries(match, 5)):
            best = stored.best(match, number, child)
            assert best is not None
            assert best.score >= (share * len(child) if space == "chain" else share)
            assert match == 50 or best.score == len(child)


def test_queries_are_new_objects_with_the_same_names() -> None:
    stored = StoredNames("chain", 20, 4, seed=0)
    one, other = stored.queries(50, 3), stored.queries(50, 9)[:3]
    assert [graph.names for graph in one] == [graph.names for graph in other]
    assert all("cones" not in vars(graph) for graph in other)


@SPACE
@pytest.mark.parametrize("match", [0, 50, 100])
def test_all_contenders_find_the_same_prefixes(space: str, layers: int, match: int) -> None:
    names = [name for name in CONTENDERS if "redis" not in name or shutil.which("redis-server")]
    found = [query(contender, match, space, layers) for contender in names]
    assert [(record.status, record.reason) for record in found] == [("ok", None)] * len(names)
    assert len({record.extra["mean_prefix"] for record in found}) == 1
    for record in found:
        assert record.extra["p50_seconds"] == record.value <= record.extra["p99_seconds"]


@CONTENDER
def test_another_donor_fails(contender: str, monkeypatch: pytest.MonkeyPatch) -> None:
    best = StoredNames.best

    def other(self: StoredNames, *given: Any) -> Match | None:
        found = best(self, *given)
        return found and dataclasses.replace(found, donor=found.donor + 1)

    monkeypatch.setattr(StoredNames, "best", other)
    record = query(contender, 100)
    assert (record.status, record.value) == ("failed", None)


def test_a_donor_for_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PrefixIndex, "best", lambda *given: Match(0, (), 0))
    assert query("index", 0).status == "failed"


@pytest.mark.parametrize(
    "contender", ["index", pytest.param("redis_scan", marks=[needs_redis, pytest.mark.slow])]
)
def test_readers_ask_at_the_same_time(contender: str) -> None:
    record = readers(contender)
    assert (record.status, record.reason) == ("ok", None)
    per_query = record.extra["makespan_seconds"] / record.extra["queries"]
    assert record.value == pytest.approx(per_query)
    assert record.extra["queries_per_second"] == pytest.approx(1 / per_query)


def test_a_reader_with_another_donor_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StoredNames, "best", lambda *given: Match(31, (0,), 1))
    record = readers("index", count=1)
    assert record.status == "failed"
    assert "expected Match(donor=31" in str(record.reason)


@pytest.mark.slow
def test_a_reader_that_fails_says_why() -> None:
    stored = StoredNames("chain", 5, 4, seed=0)
    with pytest.raises(HarnessError, match="a reader failed: ZeroDivisionError"):
        read_at_once(1, "index", stored, match=50, queries=0, timeout=60)


def test_a_reader_that_takes_too_long_is_ended() -> None:
    stored = StoredNames("chain", 5, 4, seed=0)
    with pytest.raises(HarnessError, match="it was ended"):
        read_at_once(1, "index", stored, match=50, queries=10, timeout=0.01)


def test_latencies_are_those_of_the_queries() -> None:
    found, taken = timed(lambda one: one + 1, [1, 2, 3])
    assert (found, len(taken)) == ([2, 3, 4], 3)
    facts = latencies([*range(1, 101)])
    assert (facts["queries"], facts["p50_seconds"], facts["p99_seconds"]) == (100, 50.5, 100)
    assert facts["queries_per_second"] == 1 / facts["mean_seconds"] == 1 / 50.5


@needs_mpi
@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_ranks_answer_as_one_index_does(ranks: int) -> None:
    pytest.importorskip("mpi4py")
    record = MpiQuery().sample("track_query", ranks, 20, "feed-forward")
    assert (record.status, record.reason) == ("ok", None)
    assert record.extra["queries"] == mpi_queries.QUERIES


def mpi(monkeypatch: pytest.MonkeyPatch, program: str | None, measured: Any = None) -> Record:
    monkeypatch.setattr(shutil, "which", lambda name: program)
    if measured is not None:
        monkeypatch.setattr(mpi_queries, "_json_of", lambda *given: measured)
    return MpiQuery().sample("track_query", 2, 20, "feed-forward")


def test_without_mpiexec_the_case_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    record = mpi(monkeypatch, None)
    assert record.status == "skipped"
    assert "mpiexec is not installed" in str(record.reason)


def test_ranks_that_were_not_asked_for_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mpi4py")
    measured = {
        "ranks": 1,
        "libraries": [library_file()],
        "query_ns": [1000] * mpi_queries.QUERIES,
        "median_query_ns": 1000,
        "median_single_ns": 1,
    }
    assert mpi(monkeypatch, "/bin/true", {**measured, "ranks": 2}).status == "ok"
    assert mpi(monkeypatch, "/bin/true", measured).status == "failed"


def test_ranks_that_fail_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mpi4py")
    record = mpi(monkeypatch, "/bin/false")
    assert record.status == "failed"
    assert "mpiexec ended with 1" in str(record.reason)


@pytest.mark.parametrize("cls", [LayerNames, MpiQuery])
def test_a_search_space_that_does_not_exist_is_refused(cls: Any) -> None:
    cls.check_param("space", "dense-skip")
    with pytest.raises(InputError, match="did you mean 'dense-skip'"):
        cls.check_param("space", "dense-skipp")


def test_a_kind_of_models_that_does_not_exist_is_refused() -> None:
    PrefixQuery.check_param("space", "skip")
    with pytest.raises(InputError, match="expected one of chain, skip"):
        PrefixQuery.check_param("space", "skips")
