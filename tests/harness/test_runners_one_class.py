"""One class, three runners: the same ids, parameter order, samples and statuses in each."""

from __future__ import annotations

import itertools
import json
import math
import sys
from dataclasses import dataclass, fields
from typing import Any

import pytest
from runners_project import asv, asv_results, git, make_project, pytest_in, run

from harness.records import Record, read_records

LIST = """
import json
from pathlib import Path
from harness.discovery import cases
print(json.dumps([case.id for case in cases(Path("benchmarks"))]))
"""

BAD = ("small.Refused", "small.Missing", "small.Wrong", "small.Raises")


@dataclass(frozen=True)
class Measured:
    """The same project, run by asv and by pytest."""

    ids: list[str]
    """As discovery gives them."""
    asv: dict[str, dict[str, Any]]
    asv_benchmarks: dict[str, dict[str, Any]]
    pytest: list[dict[str, Any]]
    asv_samples: tuple[Record, ...]
    pytest_samples: tuple[Record, ...]
    pytest_output: str


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    folder = make_project(tmp_path_factory.mktemp("one") / "project")
    head = git(folder, "rev-parse", "HEAD")
    ids = run(folder, sys.executable, "-c", LIST)
    asv_run = asv(
        folder, "run", "--environment", "existing:same", "--set-commit-hash", head,
        "--record-samples",
        ASV_PYTHONPATH=str(folder), BENCH_CORE_SAMPLES=str(folder / "asv.jsonl"),
    )  # fmt: skip
    assert asv_run.returncode == 2, asv_run.stdout + asv_run.stderr  # 2: some failed, as they must
    plugin_run = pytest_in(
        folder, "benchmarks", "--benchmark-only", "-ra", "--benchmark-json=pytest.json",
        BENCH_CORE_SAMPLES=str(folder / "pytest.jsonl"),
    )  # fmt: skip
    assert plugin_run.returncode == 1, plugin_run.stdout + plugin_run.stderr
    benchmarks = json.loads((folder / "results" / "asv" / "benchmarks.json").read_text())
    benchmarks.pop("version")
    return Measured(
        ids=json.loads(ids.stdout),
        asv=asv_results(folder, head),
        asv_benchmarks=benchmarks,
        pytest=json.loads((folder / "pytest.json").read_text())["benchmarks"],
        asv_samples=read_records(folder / "asv.jsonl"),
        pytest_samples=read_records(folder / "pytest.jsonl"),
        pytest_output=plugin_run.stdout,
    )


def asv_ids(benchmarks: dict[str, dict[str, Any]]) -> list[str]:
    """Return the ids that asv matches its ``-b`` against."""
    return [
        f"{name}({', '.join(values)})" if values else name
        for name, benchmark in benchmarks.items()
        for values in itertools.product(*benchmark["params"])
    ]


def test_asv_and_discovery_list_the_same_ids(measured: Measured) -> None:
    assert sorted(asv_ids(measured.asv_benchmarks)) == sorted(measured.ids)
    assert len(set(measured.ids)) == len(measured.ids) == 17


def test_pytest_s_names_are_those_ids(measured: Measured) -> None:
    names = [benchmark["name"] for benchmark in measured.pytest]
    good = [id for id in measured.ids if not id.startswith(BAD)]
    assert sorted(names) == sorted(good)
    groups = {benchmark["group"] for benchmark in measured.pytest}
    assert groups == {id.partition("(")[0] for id in good}


def test_parameters_have_the_same_names_order_and_values_everywhere(measured: Measured) -> None:
    name = "small.Sleep.time_sleep"
    stated = measured.asv_benchmarks[name]
    by_pytest = [found["params"] for found in measured.pytest if found["group"] == name]
    assert stated["param_names"] == ["kind", "times"]
    assert all(list(params) == stated["param_names"] for params in by_pytest)
    assert measured.asv[name]["params"] == stated["params"] == [["'a'", "'b'"], ["1", "2"]]
    assert [[repr(value) for value in params.values()] for params in by_pytest] == [
        ["'a'", "1"], ["'a'", "2"], ["'b'", "1"], ["'b'", "2"],
    ]  # fmt: skip
    for record in (*measured.asv_samples, *measured.pytest_samples):
        if record.benchmark == name:
            assert list(record.params) == ["kind", "times"]


def test_the_same_schema_and_statuses_come_from_both(measured: Measured) -> None:
    def facts(samples: tuple[Record, ...]) -> set[tuple[Any, ...]]:
        return {
            (
                record.benchmark, tuple(record.params.items()), record.status, record.unit,
                record.reason, record.bytes, record.return_seconds, tuple(sorted(record.extra)),
                tuple(sorted(record.counters)), (record.cache or {}).get("state"),
            )
            for record in samples
        }  # fmt: skip

    assert facts(measured.asv_samples) == facts(measured.pytest_samples)
    statuses = {record.benchmark: record.status for record in measured.asv_samples}
    assert statuses == {
        "small.Sleep.time_sleep": "ok",
        "small.Sleep.track_seconds": "ok",
        "small.Cached.time_read": "ok",
        "small.Plain.time_nothing": "ok",
        "small.Plain.track_size": "ok",
        "small.Refused.time_never": "skipped",
        "small.Refused.time_never_either": "skipped",
        "small.Missing.time_never": "skipped",
        "small.Wrong.time_wrong": "failed",
        "small.Raises.time_raises": "failed",
    }


def test_each_runner_says_who_it_is_and_numbers_its_samples(measured: Measured) -> None:
    for samples, runner in ((measured.asv_samples, "asv"), (measured.pytest_samples, "pytest")):
        assert {record.runner for record in samples} == {runner}
        one = [
            record for record in samples
            if record.benchmark == "small.Sleep.time_sleep" and record.params["kind"] == "a"
            and record.params["times"] == 1
        ]  # fmt: skip
        assert [record.round for record in one] == [0, 1, 2]


def test_pytest_s_json_carries_the_records_whose_values_are_its_own_data(
    measured: Measured,
) -> None:
    for benchmark in measured.pytest:
        records = benchmark["extra_info"]["records"]
        assert [set(record) for record in records] == [
            {field.name for field in fields(Record)}
        ] * len(records)
        if "track_" not in benchmark["group"]:
            values = [record["value"] for record in records]
            assert values == pytest.approx(benchmark["stats"]["data"], abs=1e-8)


def test_asv_s_samples_are_the_records_values(measured: Measured) -> None:
    for position, params in enumerate([("a", 1), ("a", 2), ("b", 1), ("b", 2)]):
        values = [
            record.value for record in measured.asv_samples
            if record.benchmark == "small.Sleep.time_sleep"
            and tuple(record.params.values()) == params
        ]  # fmt: skip
        samples = measured.asv["small.Sleep.time_sleep"]["samples"][position]
        assert values == pytest.approx(samples, abs=1e-8)


def test_a_wrong_answer_is_nowhere_a_number(measured: Measured) -> None:
    assert measured.asv["small.Wrong.time_wrong"]["result"] is None
    assert measured.asv["small.Raises.time_raises"]["result"] is None
    assert "WrongResultError: the answer is 41, expected 42" in measured.pytest_output
    wrong = [record for record in measured.asv_samples if record.benchmark.endswith("time_wrong")]
    assert [record.value for record in wrong] == [None]


def test_a_refused_case_is_skipped_with_its_reason(measured: Measured) -> None:
    assert all(map(math.isnan, measured.asv["small.Refused.time_never"]["result"]))
    assert "small.Refused.time_never: no such device" in measured.pytest_output
    assert "small.Missing.time_never: ImportError: cannot import name" in measured.pytest_output


def test_a_tracked_number_is_asv_s_result_and_the_record_s_value(measured: Measured) -> None:
    assert measured.asv["small.Plain.track_size"]["result"] == [4096]
    tracked = [record for record in measured.pytest_samples if record.unit == "bytes"]
    assert {record.value for record in tracked} == {4096.0}
    assert measured.asv_benchmarks["small.Plain.track_size"]["unit"] == "bytes"


def test_every_class_pins_its_version(measured: Measured) -> None:
    assert {found["version"] for found in measured.asv_benchmarks.values()} == {"1"}
