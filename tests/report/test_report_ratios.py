from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_builders import WHOLE_MODEL, interleaved, record

from harness.errors import InputError
from harness.report.contenders import with_best_peer
from harness.report.ratios import MOST_SAMPLES, median_interval, ratio_of
from harness.report.run_records import rows
from harness.report.summary import case_samples, summarise
from harness.report.table import Row, RunFacts, samples_table
from harness.report.thresholds import aa_thresholds, twin_thresholds
from harness.statistics import verdict


def table(records: list[object], run: str = "run") -> pd.DataFrame:
    facts = RunFacts(Path(f"{run}.jsonl"), run, "run", "box", {})
    return samples_table(rows(records, facts)).assign(setting="box")  # type: ignore[arg-type]


def stored(median: float, low: float, high: float, **changed: float) -> pd.DataFrame:
    """Return a case that was stored without samples."""
    row = Row(benchmark="m.time_x", params={}, status="ok", value=median, n=12, low=low, high=high)
    row.update(q25=median * 0.99, q75=median * 1.01)  # type: ignore[call-arg]
    return samples_table([row | changed])  # type: ignore[list-item]


def test_a_drift_that_hits_both_sides_cancels() -> None:
    drift = [1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0]
    a = table([record(2 * factor, round=number) for number, factor in enumerate(drift)])
    b = table([record(factor, round=number) for number, factor in enumerate(drift)])

    found = ratio_of(a, b)

    assert (found.value, found.low, found.high) == pytest.approx((2.0, 2.0, 2.0))


def test_rounds_of_two_runs_are_not_paired() -> None:
    drift = [1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0]
    samples = [record(factor, round=number) for number, factor in enumerate(drift)]

    found = ratio_of(table(samples, "a"), table(samples, "b"))

    assert found.low < 0.7 < 1.4 < found.high


def test_processes_are_the_groups_where_there_are_several() -> None:
    values = [record(value, process=process) for process in (1, 2, 3) for value in (1.0, 1.1)]

    assert ratio_of(table(values, "a"), table(values, "b")).groups == 3


def test_many_samples_are_thinned_and_give_the_same_answer() -> None:
    random = np.random.default_rng(0)
    values = [record(value) for value in random.normal(1, 0.05, 5 * MOST_SAMPLES)]

    found = ratio_of(table(values, "a"), table([record(value.value * 2) for value in values], "b"))

    assert found.n_a == MOST_SAMPLES
    assert found.low < 0.5 < found.high
    assert found.high - found.low < 0.02


def test_stored_statistics_are_compared_by_their_intervals() -> None:
    found = ratio_of(stored(2.0, 1.9, 2.2), stored(1.0, 0.9, 1.1))

    assert (found.value, found.low, found.high) == pytest.approx((2.0, 1.9 / 1.1, 2.2 / 0.9))


def test_stored_statistics_can_show_that_nothing_changed() -> None:
    found = ratio_of(stored(1.0, 0.99, 1.01), stored(1.0, 0.99, 1.01))

    assert (found.groups, verdict(found)) == (12, "unchanged")


def test_an_interval_that_reaches_zero_says_nothing() -> None:
    found = ratio_of(stored(2.0, -1.0, 5.0), stored(1.0, -1.0, 3.0))

    assert (found.low, found.high) == (0.0, math.inf)


def test_samples_beside_stored_statistics() -> None:
    samples = table([record(value) for value in (1.9, 2.0, 2.0, 2.1)])

    found = ratio_of(samples, stored(1.0, 0.99, 1.01))

    assert found.low < found.value == 2.0 < found.high


def test_a_single_sample_has_no_interval() -> None:
    assert median_interval(table([record(1.0)])) == (1.0, -math.inf, math.inf)


def test_counts_of_zero_have_no_ratio() -> None:
    with pytest.raises(InputError, match="positive"):
        ratio_of(table([record(0.0)]), table([record(1.0)], "b"))


MEDIANS = {"direct": 0.1, "auto": 0.11, "safetensors": 0.2, "torch": 0.4}


def best_peers(
    records: list[object], thresholds: Mapping[tuple[str, str], float] = {}
) -> pd.DataFrame:
    samples = table(records)
    found = with_best_peer(summarise(samples), case_samples(samples), thresholds)
    return found.set_index("param_format")


def test_every_contender_is_held_against_the_fastest_peer() -> None:
    cases = best_peers(interleaved(MEDIANS, rounds=8))

    assert set(cases["best_peer"]) == {"safetensors"}
    assert dict(cases["verdict"]) == {
        "direct": "faster",
        "auto": "faster",
        "safetensors": "best peer",
        "torch": "slower",
    }
    direct = cases.loc["direct"]
    assert direct["ratio_low"] < 0.5 < direct["ratio_high"]


def test_a_noisy_benchmark_needs_more_for_a_verdict() -> None:
    cases = best_peers(interleaved(MEDIANS, rounds=8), {("box", WHOLE_MODEL): 1.2})

    assert dict(cases["verdict"]) == {
        "direct": "cannot tell",
        "auto": "cannot tell",
        "safetensors": "best peer",
        "torch": "cannot tell",
    }
    assert set(cases["threshold"]) == {1.2}


def test_contenders_that_take_the_same_time_are_alike() -> None:
    cases = best_peers(interleaved({"direct": 0.2, "safetensors": 0.2}, rounds=12))

    assert cases.loc["direct", "verdict"] == "alike"


def test_only_the_same_work_is_compared() -> None:
    cold = interleaved({"direct": 0.1, "torch": 0.2}, rounds=8)
    warm = interleaved({"direct": 0.01, "lmdb": 0.005}, rounds=8, params={"cache": "warm"})

    cases = best_peers(cold + warm).reset_index().set_index(["param_format", "param_cache"])

    assert cases.loc[("direct", "cold_file"), "best_peer"] == "torch"
    assert cases.loc[("direct", "warm"), "best_peer"] == "lmdb"
    assert cases.loc[("direct", "warm"), "verdict"] == "slower"


def test_a_peer_that_was_not_measured_is_no_best_peer() -> None:
    records = interleaved({"direct": 0.1, "torch": 0.2}, rounds=8)
    records.append(record(0.001, status="unproved", params={"format": "lmdb"}))

    cases = best_peers(records)

    assert cases.loc["direct", "best_peer"] == "torch"
    assert cases.loc["lmdb", "verdict"] == ""


def test_without_peers_there_is_no_verdict() -> None:
    cases = best_peers(interleaved({"direct": 0.1, "auto": 0.2}))

    assert set(cases["verdict"]) == {""}
    assert cases["ratio"].isna().all()


def test_thresholds_are_twice_the_spread_of_the_halves() -> None:
    values = [1.0, 1.1] * 6
    samples = table([record(value, round=number) for number, value in enumerate(values)])

    found = aa_thresholds(samples, floor=0.05)

    assert found == {"layer_loading.WholeModel.time_load": pytest.approx(0.2)}


def test_a_quiet_machine_keeps_the_floor() -> None:
    samples = table([record(1.0, round=number) for number in range(6)])

    assert list(aa_thresholds(samples, floor=0.07).values()) == [0.07]


def twins(factor: float, rounds: int = 6) -> list[object]:
    """Return a drifting case and its twins, which take ``factor`` times as long."""
    samples: list[object] = []
    for number in range(rounds):
        samples.append(record(1.0 + number, round=number))
        samples.append(record(factor * (1.0 + number), round=number, extra={"twin": True}))
    return samples


def test_twins_are_held_against_their_case_round_by_round() -> None:
    found = twin_thresholds(table(twins(1.1)), floor=0.05)

    assert found == {WHOLE_MODEL: pytest.approx(0.2)}
    assert aa_thresholds(table(twins(1.1)), floor=0.05) == found


def test_without_twins_a_run_says_nothing_about_noise() -> None:
    assert twin_thresholds(table([record(1.0), record(2.0)]), floor=0.05) == {}


def test_twins_are_never_averaged_with_their_case() -> None:
    case = summarise(table(twins(10.0))).iloc[0]

    assert (case["n"], case["median"]) == (6, 3.5)


def test_two_runs_are_the_two_halves() -> None:
    parts = [table([record(value)] * 4, run) for run, value in (("a", 1.0), ("b", 1.2))]

    found = aa_thresholds(pd.concat(parts), floor=0.05)

    assert list(found.values()) == [pytest.approx(0.4)]
