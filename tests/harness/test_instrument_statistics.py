"""Statistics: literal series, properties, and how often the intervals hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import statistics
from harness.errors import InputError
from harness.statistics import Ratio, paired_ratio, ratio, summary, threshold_from_aa, verdict

times = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=12)


def test_a_summary_of_a_literal_series() -> None:
    found = summary([4.0, 1.0, 3.0, 2.0, 10.0])
    assert (found.n, found.median, found.q25, found.q75) == (5, 3.0, 2.0, 4.0)
    assert found.minimum == 1.0


@given(times)
def test_a_summary_is_ordered(values: list[float]) -> None:
    found = summary(values)
    assert found.minimum <= found.q25 <= found.median <= found.q75 <= max(values)


def test_a_ratio_of_literal_series() -> None:
    found = ratio([2.0, 2.0, 2.0], [1.0, 1.0, 1.0])
    assert (found.value, found.low, found.high) == (2.0, 2.0, 2.0)
    assert (found.n_a, found.n_b, found.groups) == (3, 3, 3)


@given(times, times, st.floats(0.1, 10.0))
def test_a_ratio_knows_no_unit_and_lies_in_its_interval(
    a: list[float], b: list[float], scale: float
) -> None:
    plain = ratio(a, b, resamples=200)
    scaled = ratio([scale * value for value in a], [scale * value for value in b], resamples=200)
    assert plain.low <= plain.value <= plain.high
    assert plain.value == pytest.approx(float(np.median(a) / np.median(b)))
    for name in ("value", "low", "high"):
        assert getattr(scaled, name) == pytest.approx(getattr(plain, name), rel=1e-6)


def test_equal_seeds_give_equal_intervals() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.gamma(5, size=12), generator.gamma(5, size=12)
    assert ratio(a, b, seed=3) == ratio(a, b, seed=3)
    assert ratio(a, b, seed=3) != ratio(a, b, seed=4)


def test_one_sample_bounds_nothing() -> None:
    found = ratio([1.0], [2.0, 2.0])
    assert (found.value, found.low, found.high) == (0.5, 0.0, math.inf)
    assert verdict(found) == "cannot tell"


def test_groups_are_resampled_before_their_samples() -> None:
    # Two processes that differ by 20 %, without any noise inside: samples look exact, but are not.
    a = [1.0] * 10 + [1.2] * 10
    groups = [0] * 10 + [1] * 10
    alone = ratio(a, [1.1] * 20)
    grouped = ratio(a, [1.1] * 20, groups, [0] * 10 + [1] * 10)
    assert grouped.groups == 2
    assert (grouped.low, grouped.high) == pytest.approx((1.0 / 1.1, 1.2 / 1.1))
    assert grouped.high - grouped.low >= alone.high - alone.low


def test_groups_of_unequal_size_keep_their_size() -> None:
    # If short groups were drawn as often as long ones, 9 would turn up as a median.
    groups = [[1.0] * 9, [9.0]]
    drawn = statistics._resampled_medians(
        [np.asarray(group) for group in groups], 2000, np.random.default_rng(0)
    )
    assert set(drawn.tolist()) == {1.0, 9.0}
    assert (drawn == 9.0).mean() == pytest.approx(0.25, abs=0.05)


def test_the_median_of_an_even_number_of_resampled_values_is_their_middle() -> None:
    values = np.array([1.0, 2.0])
    drawn = statistics._resampled_medians([values], 1000, np.random.default_rng(0))
    assert set(drawn.tolist()) == {1.0, 1.5, 2.0}


@pytest.mark.parametrize(
    ("degrees", "quantile"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (5, 2.571), (10, 2.228), (11, 2.201), (30, 2.042)],
)
def test_students_quantiles_are_those_of_the_tables(degrees: int, quantile: float) -> None:
    assert statistics._student_quantile(0.975, degrees) == pytest.approx(quantile, abs=5e-4)


def coverage(groups: int, samples: int, between: float, trials: int = 200) -> float:
    """Return how often the 95 % interval of two equal sides holds 1, of skewed, grouped times."""
    generator = np.random.default_rng(7)
    labels = np.repeat(np.arange(groups), samples).tolist()
    hits = 0
    for trial in range(trials):
        a, b = (
            np.exp(
                generator.normal(0, between, (groups, 1))
                + 0.05 * generator.gamma(1.0, 1.0, (groups, samples))
            ).ravel()
            for _ in range(2)
        )
        found = ratio(a, b, labels, labels, seed=trial, resamples=1000)
        hits += found.low <= 1.0 <= found.high
    return hits / trials


@pytest.mark.parametrize(
    ("groups", "samples", "between"), [(1, 6, 0.0), (2, 6, 0.05), (3, 6, 0.05), (6, 3, 0.05)]
)
def test_intervals_hold_the_truth_as_often_as_they_say(
    groups: int, samples: int, between: float
) -> None:
    assert coverage(groups, samples, between) >= 0.92


def test_intervals_are_narrow_enough_to_find_a_change() -> None:
    generator = np.random.default_rng(1)
    found = 0
    for trial in range(50):
        a = 1.25 * np.exp(0.03 * generator.normal(size=12))
        b = np.exp(0.03 * generator.normal(size=12))
        found += verdict(ratio(a, b, seed=trial, resamples=1000)) == "slower"
    assert found >= 45


def test_pairing_cancels_what_drifts_over_the_rounds() -> None:
    rounds = list(range(8))
    drift = np.linspace(1, 5, 8)
    wobble = 1 + 0.01 * np.array([1, -1, 0, 1, -1, 0, 1, -1])
    a, b = 1.2 * drift * wobble, drift
    paired = paired_ratio(a, b, rounds, rounds)
    assert paired.value == pytest.approx(1.2, rel=0.02)
    assert verdict(paired) == "slower"
    assert verdict(ratio(a, b)) == "cannot tell"


def test_pairing_uses_rounds_of_both_sides_only() -> None:
    found = paired_ratio([2.0, 4.0, 100.0], [1.0, 1.0, 2.0], [0, 0, 9], [0, 1, 0])
    assert (found.value, found.groups) == (2.0, 1)
    assert (found.low, found.high) == (0.0, math.inf)
    with pytest.raises(InputError, match="no round has samples of both sides"):
        paired_ratio([1.0], [1.0], [0], [1])


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.70, 0.90, "faster"),
        (0.70, 0.96, "cannot tell"),
        (0.99, 1.01, "unchanged"),
        (1 / 1.05, 1.05, "unchanged"),
        (0.94, 1.01, "cannot tell"),
        (0.80, 1.30, "cannot tell"),
        (1.04, 1.30, "cannot tell"),
        (1.06, 1.30, "slower"),
    ],
)
def test_a_verdict_needs_the_whole_interval(low: float, high: float, expected: str) -> None:
    found = Ratio(value=(low + high) / 2, low=low, high=high, n_a=6, n_b=6, groups=6)
    assert verdict(found) == expected
    mirrored = Ratio(1 / found.value, 1 / high, 1 / low, 6, 6, 6)
    opposite = {"faster": "slower", "slower": "faster"}
    assert verdict(mirrored) == opposite.get(expected, expected)


@pytest.mark.parametrize(("groups", "expected"), [(5, "cannot tell"), (6, "unchanged")])
def test_few_groups_that_agree_by_chance_are_no_proof_that_nothing_changed(
    groups: int, expected: str
) -> None:
    assert verdict(Ratio(1.0, 0.99, 1.01, 60, 60, groups)) == expected


def test_the_threshold_decides_what_is_unchanged() -> None:
    found = Ratio(1.0, 0.9, 1.1, 6, 6, 6)
    assert verdict(found) == "cannot tell"
    assert verdict(found, threshold=0.15) == "unchanged"


def test_the_same_code_is_found_unchanged_and_never_another() -> None:
    generator = np.random.default_rng(11)
    found = [
        verdict(ratio(*np.exp(0.01 * generator.normal(size=(2, 12))), seed=trial, resamples=500))
        for trial in range(40)
    ]
    assert set(found) <= {"unchanged", "cannot tell"}
    assert found.count("unchanged") >= 36


def test_the_threshold_is_twice_the_spread_of_an_aa_run() -> None:
    assert threshold_from_aa([1.0, 1.01, 0.99]) == 0.05
    assert threshold_from_aa([0.9, 1.04]) == pytest.approx(2 * (1 / 0.9 - 1))
    assert threshold_from_aa([1.1]) == pytest.approx(0.2)
    assert threshold_from_aa([1.0], floor=0.3) == 0.3


def test_an_aa_comparison_is_never_told_apart_by_its_own_threshold() -> None:
    generator = np.random.default_rng(5)
    for trial in range(30):
        values = np.exp(0.1 * generator.normal(size=(2, 12)))
        rounds = list(range(12))
        threshold = threshold_from_aa(statistics.round_ratios(*values, rounds, rounds))
        found = verdict(ratio(*values, seed=trial, resamples=500), threshold)
        assert found in ("unchanged", "cannot tell")


@pytest.mark.parametrize(
    ("a", "b", "groups", "message"),
    [
        ([], [1.0], None, "a: found no samples"),
        ([1.0], [math.nan], None, "b: a sample is not finite"),
        ([1.0], [0.0], None, r"b: found 0\.0, a ratio needs positive"),
        ([1.0, 2.0], [1.0], [0], "a: found 1 groups for 2 samples"),
    ],
)
def test_unfit_samples_are_refused(
    a: list[float], b: list[float], groups: list[int] | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        ratio(a, b, groups)
