from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report.charts.ranks import kendall, spearman

PAIRS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=25)


@pytest.mark.parametrize(
    ("a", "b", "rho", "tau"),
    [
        ([1, 2, 3, 4], [10, 20, 30, 40], 1.0, 1.0),
        ([1, 2, 3, 4], [4, 3, 2, 1], -1.0, -1.0),
        # Hours of television a week and IQ of ten people, the usual worked example.
        (
            [106, 100, 86, 101, 99, 103, 97, 113, 112, 110],
            [7, 27, 2, 50, 28, 29, 20, 12, 6, 17],
            -29 / 165,
            -5 / 45,
        ),
        # With ties: concordant 3, discordant 0; 5 pairs untied on the left, 4 on the right.
        ([1, 2, 2, 3], [1, 1, 2, 2], 3 / math.sqrt(18), 3 / math.sqrt(20)),
    ],
)
def test_known_values(a: list[float], b: list[float], rho: float, tau: float) -> None:
    assert spearman(a, b) == pytest.approx(rho)
    assert kendall(a, b) == pytest.approx(tau)


@pytest.mark.parametrize(("a", "b"), [([1, 1, 1], [1, 2, 3]), ([1], [2]), ([], [])])
def test_without_an_order_there_is_no_correlation(a: list[float], b: list[float]) -> None:
    assert math.isnan(spearman(a, b))
    assert math.isnan(kendall(a, b))


@given(PAIRS)
def test_kendall_counts_pairs(pairs: list[tuple[int, int]]) -> None:
    score = left = right = 0
    for (a, b), (c, d) in itertools.combinations(pairs, 2):
        sign = (a > c) - (a < c), (b > d) - (b < d)
        score += sign[0] * sign[1]
        left += abs(sign[0])
        right += abs(sign[1])
    found = kendall(*map(list, zip(*pairs, strict=True)))

    if left and right:
        assert found == pytest.approx(score / math.sqrt(left * right))
    else:
        assert math.isnan(found)


@given(PAIRS)
def test_only_the_order_counts(pairs: list[tuple[int, int]]) -> None:
    a, b = map(list, zip(*pairs, strict=True))
    stretched = [math.exp(value) for value in a]

    for correlation in (spearman, kendall):
        assert correlation(stretched, b) == pytest.approx(correlation(a, b), nan_ok=True)
        reversed_ = correlation([-value for value in a], b)
        assert reversed_ == pytest.approx(-correlation(a, b), nan_ok=True)
