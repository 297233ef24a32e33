from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_builders import SIZE, header, machine, record, write_asv, write_run

from harness.report.load import load
from harness.report.run_records import rows
from harness.report.summary import case_samples, summarise
from harness.report.table import RunFacts, samples_table

FACTS = RunFacts(Path("run.jsonl"), "run", "run", "box", {})
TIMES = st.floats(1e-6, 1e3)


def _summary(records: list[object]) -> object:
    table = samples_table(rows(records, FACTS)).assign(setting="box")  # type: ignore[arg-type]
    return summarise(table)


@settings(max_examples=30, deadline=None)
@given(st.lists(TIMES, min_size=1, max_size=9), st.lists(TIMES, max_size=5))
def test_only_usable_samples_are_averaged(good: list[float], unproved: list[float]) -> None:
    records = [record(value) for value in good]
    records += [record(value, status="unproved", reason="warm") for value in unproved]

    case = _summary(records).iloc[0]

    assert case["n"] == len(good)
    assert case["n_unproved"] == len(unproved)
    assert case["median"] == pytest.approx(np.median(good))
    assert case["minimum"] == min(good)
    assert case["gb_per_s"] == pytest.approx(SIZE / np.median(good) / 1e9)
    assert case["efficiency"] == pytest.approx(SIZE / 2.2e9 / np.median(good))


def test_a_case_without_usable_samples_has_its_status_and_reason() -> None:
    records = [
        record(0.1, status="unproved", reason="12 % resident"),
        record(None, status="failed", reason="tensor differs"),
        record(None, status="skipped", reason="no device", params={"format": "redis"}),
    ]

    cases = _summary(records)

    assert list(cases["status"]) == ["failed", "skipped"]
    assert list(cases["reason"]) == ["tensor differs", "no device"]
    assert list(cases["n"]) == [0, 0]
    assert cases["median"].isna().all()


def test_a_failure_beside_good_samples_is_counted() -> None:
    case = _summary([record(0.1), record(None, status="failed", reason="x")]).iloc[0]

    assert (case["status"], case["n"], case["n_failed"]) == ("ok", 1, 1)


def test_read_amplification_is_of_reads_that_had_to_reach_the_device() -> None:
    counters = {"read_bytes": 1.5 * SIZE}
    cases = _summary(
        [
            record(params={"cache": "cold_file"}, counters=counters),
            record(params={"cache": "warm"}, counters=counters),
        ]
    )

    assert cases["read_amplification"][0] == 1.5
    assert math.isnan(cases["read_amplification"][1])


def test_throughput_at_the_quartiles_is_turned_round() -> None:
    case = _summary([record(value) for value in (1.0, 2.0, 3.0)]).iloc[0]

    assert (case["gb_low"], case["gb_high"]) == pytest.approx((SIZE / 2.5e9, SIZE / 1.5e9))


def test_stored_statistics_take_the_place_of_samples(tmp_path: Path) -> None:
    path = write_asv(
        tmp_path,
        {"m.time_x": [[0.5], [], "1", 0, 1, [0.4], [0.6], [0.45], [0.55], [1], [20]]},
        {"m.time_x": ()},
    )

    case = summarise(load([path]).samples).iloc[0]

    assert (case["n"], case["median"], case["q25"], case["q75"]) == (20, 0.5, 0.45, 0.55)
    assert math.isnan(case["minimum"])


def test_commits_machines_and_runners_are_not_pooled(tmp_path: Path) -> None:
    other = machine(git={"commit": "f" * 40, "dirty": False})
    write_run(tmp_path / "a.jsonl", [record()], header("a"))
    write_run(tmp_path / "b.jsonl", [record(runner="pytest")], header("b"))
    write_run(tmp_path / "c.jsonl", [record()], header("c", machine=other))
    write_run(tmp_path / "d.jsonl", [record()], header("d"))

    cases = summarise(load([tmp_path]).samples)

    assert list(cases["n"]) == [2, 1, 1]
    assert list(cases["runner"]) == ["run", "pytest", "run"]


def test_case_samples_hold_usable_samples_only() -> None:
    table = samples_table(
        rows([record(0.1), record(0.2, status="unproved"), record(0.3)], FACTS)
    ).assign(setting="box")

    (found,) = case_samples(table).values()

    assert list(found["value"]) == [0.1, 0.3]
