from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_builders import interleaved, record

from harness.errors import InputError
from harness.report.compared_table import compared_table, reasons
from harness.report.comparison import (
    Compared,
    compare,
    compare_contenders,
    exit_code,
    summary_line,
)
from harness.report.run_records import rows
from harness.report.table import RunFacts, samples_table


def side(records: list[object], run: str) -> pd.DataFrame:
    facts = RunFacts(Path(f"{run}.jsonl"), run, "run", "box", {})
    return samples_table(rows(records, facts)).assign(setting="box")  # type: ignore[arg-type]


def around(median: float, count: int = 8, seed: int = 0) -> list[object]:
    random = np.random.default_rng(seed)
    return [record(float(value)) for value in median * np.exp(random.normal(0, 0.01, count))]


def five_percent(benchmark: str) -> float:
    return 0.05


def judged(a: list[object], b: list[object]) -> Compared:
    (found,) = compare(side(a, "a"), side(b, "b"), five_percent)
    return found


@pytest.mark.parametrize(
    ("factor", "expected", "code"),
    [(1.5, "slower", 1), (0.5, "faster", 0), (1.0, "unchanged", 0), (1.06, "cannot tell", 4)],
)
def test_times_are_judged_by_their_interval(factor: float, expected: str, code: int) -> None:
    found = judged(around(1.0), around(factor, seed=1))

    assert found.verdict == expected
    assert found.ratio is not None
    assert found.ratio.value == pytest.approx(factor, rel=0.02)
    assert exit_code([found]) == code


def test_the_threshold_is_the_benchmark_s_own() -> None:
    a, b = side(around(1.0), "a"), side(around(1.5, seed=1), "b")

    (found,) = compare(a, b, {"layer_loading.WholeModel.time_load": 0.6}.__getitem__)

    assert (found.verdict, found.threshold) == ("cannot tell", 0.6)


def test_noise_never_widens_what_counts_as_unchanged_but_a_chosen_margin_does() -> None:
    a, b = side(around(1.0), "a"), side(around(1.2, seed=1), "b")
    noise = {"layer_loading.WholeModel.time_load": 0.6}.__getitem__

    verdicts = [compare(a, b, noise, margin=margin)[0].verdict for margin in (0.05, 0.3)]

    assert verdicts == ["cannot tell", "unchanged"]


SKIPPED = record(None, status="skipped", reason="no device", cache=None)
FAILED = record(None, status="failed", reason="tensor differs", cache=None)
UNPROVED = record(1.0, status="unproved", reason="12 % resident")
OTHER = record(1.0, params={"format": "torch"})


@pytest.mark.parametrize(
    ("a", "b", "verdict", "reason"),
    [
        (around(1.0), [FAILED], "broken", "1 of 1 sample failed: tensor differs"),
        (around(1.0), [*around(1.0), FAILED], "broken", "1 of 9 samples failed: tensor differs"),
        (around(1.0), [SKIPPED], "broken", "B: skipped, no device"),
        (around(1.0), [UNPROVED], "cannot tell", "B: unproved, 12 % resident"),
        ([SKIPPED], around(1.0), "new", "A: skipped, no device"),
        ([FAILED], around(1.0), "new", "A: failed, tensor differs"),
        ([UNPROVED], around(1.0), "cannot tell", "A: unproved, 12 % resident"),
        ([UNPROVED], [SKIPPED], "cannot tell", "A: unproved, 12 % resident; B: skipped, no device"),
        ([SKIPPED], [SKIPPED], "not compared", "A: skipped, no device; B: skipped, no device"),
        (around(0.0), around(0.0), "cannot tell", "a: found 0.0, a ratio needs positive samples"),
    ],
)
def test_what_has_no_ratio_has_a_reason(
    a: list[object], b: list[object], verdict: str, reason: str
) -> None:
    found = judged(a, b)

    assert (found.verdict, found.reason, found.ratio) == (verdict, reason, None)


def test_a_case_that_vanished_is_broken_and_one_that_appeared_is_not() -> None:
    a, b = side(around(1.0), "a"), side([OTHER] * 6, "b")

    vanished, appeared = compare(a, b, five_percent)

    assert (vanished.verdict, vanished.reason) == ("broken", "B: missing")
    assert (appeared.verdict, appeared.reason) == ("new", "A: missing")


def test_broken_outweighs_slower() -> None:
    a = side([*around(1.0), *[OTHER] * 6], "a")
    b = side(around(2.0, seed=1), "b")

    found = compare(a, b, five_percent)

    assert sorted(item.verdict for item in found) == ["broken", "slower"]
    assert exit_code(found) == 3
    assert summary_line(found) == "2 cases: 1 broken, 1 slower"


MEDIANS = {"safetensors": 0.2, "direct": 0.1, "torch": 0.4}


def test_contenders_are_judged_where_they_did_the_same_work() -> None:
    samples = interleaved(MEDIANS, rounds=8)
    samples += interleaved({"safetensors": 1.0, "direct": 2.0}, 8, params={"cache": "warm"})

    found, notes = compare_contenders(side(samples, "a"), "format", "safetensors", five_percent)

    verdicts = {item.case.partition("(")[2]: item.verdict for item in found}
    assert verdicts == {
        "'direct', 'cold_file', 'stack_64x4MiB')": "faster",
        "'torch', 'cold_file', 'stack_64x4MiB')": "slower",
        "'direct', 'warm', 'stack_64x4MiB')": "slower",
    }
    assert notes == []


def test_a_contender_that_is_not_installed_breaks_nothing_but_a_failed_one_does() -> None:
    samples = interleaved({"safetensors": 0.2}, rounds=8)
    samples.append(record(None, status="skipped", reason="no lmdb", params={"format": "lmdb"}))
    samples.append(record(None, status="failed", reason="wrong", params={"format": "npz"}))

    found, _ = compare_contenders(side(samples, "a"), "format", "safetensors", five_percent)

    assert {item.reason: item.verdict for item in found} == {
        "lmdb: skipped, no lmdb": "not compared",
        "1 of 1 sample failed: wrong": "broken",
    }


def test_a_base_that_failed_breaks_the_comparison_and_an_absent_one_does_not() -> None:
    samples = interleaved({"direct": 0.2}, rounds=8)
    base = {"format": "torch"}
    failed = [*samples, record(None, status="failed", reason="wrong", params=base)]
    absent = [*samples, record(None, status="skipped", reason="absent", params=base)]
    verdicts = []
    for records in (failed, absent):
        (found,), _ = compare_contenders(side(records, "a"), "format", "torch", five_percent)
        verdicts.append(found.verdict)

    assert verdicts == ["broken", "not compared"]


def judgement(verdict: str) -> Compared:
    return Compared("m.time_x", verdict, "seconds", 1.0, 1.0, None, 0.05)


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ("faster unchanged new", 0),
        ("faster not_compared", 0),
        ("cannot_tell faster unchanged", 4),
        ("slower cannot_tell", 1),
        ("broken slower cannot_tell", 3),
        ("not_compared", 4),
        ("", 4),
    ],
)
def test_what_is_worst_decides_the_exit_code(verdicts: str, code: int) -> None:
    found = [judgement(word.replace("_", " ")) for word in verdicts.split()]

    assert exit_code(found) == exit_code(reversed(found)) == code


def test_benchmarks_without_the_base_are_named() -> None:
    samples = interleaved(MEDIANS)
    samples.append(record(benchmark="m.Other.time_x", params={"format": "direct"}))

    found, notes = compare_contenders(side(samples, "a"), "format", "torch", five_percent)

    assert len(found) == 2
    assert notes == ["m.Other.time_x: not compared, nothing in it has format=torch"]


@pytest.mark.parametrize(
    ("by", "base", "expected"),
    [
        ("former", "torch", "no such parameter; there are format, cache, model"),
        ("format", "pickle", "not among the values of format: safetensors, direct, torch"),
    ],
)
def test_wrong_contenders(by: str, base: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        compare_contenders(side(interleaved(MEDIANS), "a"), by, base, five_percent)


def test_the_table_begins_with_what_needs_attention() -> None:
    a = side([*around(1.0), *[OTHER] * 6], "a")
    b = side([*around(1.5, seed=1), *[SKIPPED] * 0], "b")

    found = compare(a, b, five_percent)
    table = compared_table(found, "title", "A", "B")

    assert [row.cells[-1].text for row in table.rows] == ["broken", "slower"]
    assert table.rows[1].cells[1].text == "1.00 s"
    assert reasons(found) == [f"broken: {found[1].case}: B: missing"]
