"""Every case of every workload runs, or is skipped with a reason; ids and parameters fit."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

import benchmarks.support.common
from bench_core import formats
from benchmarks.support.common import READERS, WRITERS
from harness import discovery
from harness.benchmark import Benchmark
from harness.discovery import Case
from harness.limits import Limits
from harness.records import read_records

STACK, TINY = "stack_4x16KiB", "tiny_8x1KiB"
SPAWNING = (
    "parallel_writes.",
    "prefix_queries.ConcurrentReaders.",
    "mpi_queries.",
    "evolution_engines.",
)
"""Benchmarks whose every sample starts processes: tested below, or by tests of their own."""

SMALL = {
    "n_models": 5,
    "n_population": 20,
    "n_children": 5,
    "candidates": 6,
    "population": 4,
    "sample": 2,
    "births": 20,
    "depth": 3,
    "generations": 2,
    "epochs": 1,
    "items": 64,
    "architecture": "mlp_tiny",
    "architectures": "mlp_tiny+mlp_deep",
}
"""What makes a workload over sets of models small."""

LIMITS = Limits(
    sequential_read=1e9,
    sequential_write=1e9,
    sequential_write_new=1e9,
    read_into_fresh=1e9,
    random_read_4k=1e4,
    fsync_seconds=1e-4,
    memcpy=1e9,
    memcpy_all_threads=1e9,
    memcpy_fresh=1e9,
)

CASES = discovery.cases()
CLASSES = list(dict.fromkeys(case.cls for case in CASES))


def small(case: Case) -> Case:
    """Return the case with models of some KiB in the place of its own."""
    params = dict(case.params)
    if "model" in params:
        params["model"] = TINY if str(params["model"]).startswith("tiny") else STACK
    if "mebibytes" in params:
        params["mebibytes"] = 1
    for name, value in SMALL.items():
        if name in params:
            params[name] = value
    return Case(case.module, case.cls, case.method, params)


def small_cases() -> Iterator[Case]:
    unique = {small(case).id: small(case) for case in CASES}
    yield from (case for case in unique.values() if not case.id.startswith(SPAWNING))


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_CORE_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def test_ids_are_unique() -> None:
    ids = [case.id for case in CASES]
    assert len(set(ids)) == len(ids) > 200


def test_the_lists_of_formats_are_those_of_the_library() -> None:
    assert list(WRITERS) == formats.writers()
    # `torch_no_crc` differs from `torch` in its writer alone.
    assert set(READERS) == {"auto", *formats.names()} - {"torch_no_crc"}


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_a_docstring_says_what_is_inside_the_clock(cls: type[Benchmark]) -> None:
    text = inspect.getdoc(cls) or ""
    is_timed = any(name.startswith("time_") for name in vars(cls))
    assert not is_timed or "Inside the clock" in text
    if "ideal_seconds" in "".join(vars(cls)):
        assert "Ideal:" in text or "Ideal," in text


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_methods_name_their_parameters_in_the_class_s_order(cls: type[Benchmark]) -> None:
    for name, method in inspect.getmembers(cls, inspect.isfunction):
        if name.startswith(("time_", "track_")):
            _, *parameters = inspect.signature(method).parameters
            # Or it leaves them to `prepare`, as searches do.
            assert parameters in (list(cls.param_names), ["params"]), name


def test_the_quick_form_is_a_part_of_the_whole() -> None:
    quick = [case.id for case in discovery.cases(quick=True)]
    assert set(quick) < {case.id for case in CASES}
    assert 80 < len(quick) < 250


def test_every_case_is_measured_and_right_or_skipped_with_a_reason(data: Path) -> None:
    instances: dict[tuple[type[Benchmark], str], Benchmark] = {}
    wrong = []
    for case in small_cases():
        benchmark = instances.setdefault((case.cls, case.id), case.cls())
        benchmark.limits = LIMITS
        record = benchmark.sample(case.method, *case.values)
        assert record.benchmark == case.benchmark
        assert dict(record.params) == dict(case.params)
        planned = case.cls.planned_bytes(**case.params)
        if record.status == "skipped":
            assert record.reason
        elif record.status != "ok" or record.value is None or record.value < 0:
            wrong.append(f"{record.status}: {case.id}: {record.reason}")
        elif record.bytes is not None and planned != record.bytes:
            wrong.append(f"{case.id}: {planned} bytes planned, {record.bytes} moved")
    assert wrong == []
    left = [*data.rglob("written*"), *data.rglob("background*")]
    assert left == []


@pytest.mark.parametrize(
    "beginning",
    [
        "Wallclock.track_makespan('set_up_included', 'direct', 1",
        "Wallclock.track_makespan('to_memory', 'direct', 2",
        "ConcurrentWriters.track_makespan('torch', 2",
    ],
)
def test_writes_by_processes_state_their_phases(beginning: str) -> None:
    (case,) = (small(case) for case in CASES if case.id.startswith(f"parallel_writes.{beginning}"))
    taken = case.cls()
    taken.limits = LIMITS
    record = taken.sample(case.method, *case.values)
    assert (record.status, record.reason) == ("ok", None)
    assert record.value is not None
    assert record.value > 0
    assert record.unit == "seconds"
    assert record.bytes == case.params["processes"] * 4 * 16 * 1024
    assert case.cls.planned_bytes(**case.params) == record.bytes
    phases = record.extra["phases"]
    expected = {"write", "flush"}
    if "set_up_included" in case.id:
        expected |= {"spawn", "import", "context", "build", "barrier"}
    assert set(phases) == expected
    assert sum(phases.values()) <= record.value * 1.001


def test_samples_reach_the_file_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "samples.jsonl"
    monkeypatch.setenv("BENCH_CORE_SAMPLES", str(path))
    case = next(small(case) for case in CASES if "WholeModel" in case.id)
    taken = case.cls()
    records = [taken.sample(case.method, *case.values) for _ in range(2)]
    assert [record.round for record in records] == [0, 1]
    assert [record.benchmark for record in read_records(path)] == [case.benchmark] * 2


def test_names_of_open_parameters_are_checked() -> None:
    checked = set(benchmarks.support.common._CHECKS)
    assert checked == set(benchmarks.support.common.ModelBenchmark.open_params)
    known = {
        "cache": "cold_host",
        "durability": "fsync",
        "format": "auto",
        "model": "stack_2x1MiB",
        "position": "last",
        "selector": "random_7",
    }
    for name, value in known.items():
        benchmarks.support.common.ModelBenchmark.check_param(name, value)
    for name, value in itertools.product(known, ["nonsense"]):
        with pytest.raises(discovery.InputError, match="nonsense"):
            benchmarks.support.common.ModelBenchmark.check_param(name, value)
