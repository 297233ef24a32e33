from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import InputError
from harness.statistics import bootstrap_median

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20)


@given(VALUES)
def test_the_interval_holds_the_median_and_lies_among_the_samples(values: list[float]) -> None:
    low, high = bootstrap_median(values, resamples=200)

    assert min(values) <= low <= np.median(values) <= high <= max(values)


def test_equal_seeds_give_equal_intervals() -> None:
    values = list(np.random.default_rng(3).normal(10, 1, 40))

    assert bootstrap_median(values, seed=1) == bootstrap_median(values, seed=1)
    assert bootstrap_median(values, seed=1) != bootstrap_median(values, seed=2)


def test_about_95_of_100_intervals_hold_the_true_median() -> None:
    random = np.random.default_rng(0)
    trials = 400
    found = 0
    for trial in range(trials):
        low, high = bootstrap_median(random.normal(5, 1, 12), seed=trial, resamples=500)
        found += low <= 5 <= high

    assert 0.92 <= found / trials <= 0.995


def test_samples_of_one_process_are_not_independent() -> None:
    random = np.random.default_rng(0)
    values = [level + noise for level in range(6) for noise in random.normal(0, 0.01, 50)]
    processes = [process for process in range(6) for _ in range(50)]

    low, high = bootstrap_median(values, processes)
    alone_low, alone_high = bootstrap_median(values)

    assert high - low > alone_high - alone_low


def test_one_observation_bounds_nothing() -> None:
    assert bootstrap_median([1.0]) == (-math.inf, math.inf)


@pytest.mark.parametrize("values", [[], [1.0, math.nan]])
def test_what_is_no_sample_is_refused(values: list[float]) -> None:
    with pytest.raises(InputError):
        bootstrap_median(values)
