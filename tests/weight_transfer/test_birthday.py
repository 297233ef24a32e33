"""The expected prefixes: published numbers, trials, and what must hold for any space."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench_core.weight_transfer import SpaceError, birthday

SKIP = [31, 2, 31, 2, 2, 31, 2, 2, 2, 31, 2, 2, 2]
spaces = st.lists(st.integers(1, 6), min_size=1, max_size=6)
sizes = st.integers(0, 50)


def even(choices: list[int]) -> list[list[float]]:
    return [[1 / count] * count for count in choices]


@pytest.mark.parametrize(
    ("choices", "n", "expected"),
    [
        ([2] * 15, 300, 8.5548),
        ([2] * 15, 60, 6.2498),
        ([3] * 10, 1000, 6.3051),
        ([5, 2, 2, 8, 3, 4, 2, 2], 64, 3.4744),
        (SKIP, 1000, 2.7647),
    ],
)
def test_the_expected_length_is_the_published_one_and_that_of_trials(
    choices: list[int], n: int, expected: float
) -> None:
    found = birthday.estimate(choices, n).layers
    assert found == pytest.approx(expected, abs=5e-5)
    assert abs(birthday.simulate(even(choices), n, 400, seed=1).z(found)) <= 4


@pytest.mark.parametrize(
    ("choices", "n", "weights", "expected"),
    [
        ([2] * 15, 300, None, 9.8336),
        ([4] * 10, 100, None, 5.2313),
        ([2] * 15, 300, [1 + 9 * i / 14 for i in range(15)], 10.6166),
        ([4] * 10, 100, [1 + i for i in range(10)], 6.2559),
    ],
)
def test_the_expected_length_of_a_child_is_the_published_one_and_that_of_trials(
    choices: list[int], n: int, weights: list[float] | None, expected: float
) -> None:
    found = birthday.child(choices, n, weights)
    assert found == pytest.approx(expected, abs=5e-5)
    assert abs(birthday.simulate_child(choices, n, 400, seed=1, weights=weights).z(found)) <= 4


def test_a_position_with_a_single_choice_is_never_mutated() -> None:
    found = birthday.child([2, 1, 1], 10)
    assert found == birthday.child([2, 1, 1], 10, [1, 0, 0])
    assert found == pytest.approx(3 * (1 - 0.5**9))
    assert abs(birthday.simulate_child([2, 1, 1], 3, 400, seed=1).z(3 * (1 - 0.5**2))) <= 4


@pytest.mark.parametrize("n", [1, 2, 3])
def test_small_spaces_are_counted_out(n: int) -> None:
    choices, models = [2, 3], list(itertools.product(range(2), range(3)))
    best, different, same = [], [], []
    for stored in itertools.product(models, repeat=n):
        prefixes = {one[:m] for one in stored for m in (1, 2)}
        different.append(len(prefixes))
        same.append([len({one[:m] for one in stored}) < n for m in (1, 2)])
        best += [sum(one[:m] in prefixes for m in (1, 2)) for one in models]
    found = birthday.estimate(choices, n)
    assert found.layers == pytest.approx(sum(best) / len(best))
    assert found.distinct == pytest.approx(sum(different) / len(different))
    shares = [sum(column) / len(same) for column in zip(*same, strict=True)]
    assert birthday.any_two(choices, n) == pytest.approx(shares)


def test_the_original_estimate_and_its_limit() -> None:
    found = birthday.estimate([2] * 15, 300)
    published = [1, 1, 1, 1, 0.9999, 0.991, 0.905, 0.691, 0.444, 0.254, 0.136, 0.071, 0.036, 0.018]
    assert found.at_least[:14] == pytest.approx(published, abs=6e-4)
    assert birthday.asymptote(2, 300) == pytest.approx(8.5616, abs=5e-5)
    assert birthday.asymptote(3, 1000) == pytest.approx(6.3131, abs=5e-5)


def test_the_prefixes_that_a_perfect_sharer_stores() -> None:
    found = birthday.estimate([2] * 15, 300)
    assert found.distinct == pytest.approx(2364.43, abs=5e-3)
    assert found.dedup_ratio == pytest.approx(1.903, abs=5e-4)
    assert abs(birthday.simulate_distinct([2] * 15, 300, 100, seed=1).z(found.distinct)) <= 4


@given(spaces, sizes)
def test_even_choices_are_a_case_of_uneven_ones(choices: list[int], n: int) -> None:
    assert birthday.uneven(even(choices), n) == pytest.approx(
        birthday.estimate(choices, n).at_least
    )


@given(spaces, sizes)
def test_longer_prefixes_are_rarer_and_more_models_have_more(choices: list[int], n: int) -> None:
    fewer, more = birthday.estimate(choices, n), birthday.estimate(choices, n + 1)
    assert all(a >= b for a, b in itertools.pairwise(fewer.at_least))
    assert fewer.layers <= more.layers + 1e-12 <= len(choices) + 2e-12
    assert fewer.distinct <= more.distinct + 1e-9 <= (n + 1) * len(choices) + 2e-9


@given(st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=4), min_size=1, max_size=5), sizes)
def test_the_bound_for_uneven_choices_is_one(given_: list[list[int]], n: int) -> None:
    probabilities = [[count / sum(one) for count in one] for one in given_]
    exact, bound = birthday.uneven(probabilities, n), birthday.uneven_bound(probabilities, n)
    assert all(e <= b + 1e-9 for e, b in zip(exact, bound, strict=True))


def test_uneven_choices_by_trials() -> None:
    probabilities = [[0.6, 0.3, 0.1], [0.8, 0.2], [0.5, 0.25, 0.25], [0.7, 0.3]]
    expected = sum(birthday.uneven(probabilities, 5))
    assert abs(birthday.simulate(probabilities, 5, 2000, seed=3).z(expected)) <= 4


@given(spaces, sizes)
def test_on_a_chain_several_donors_have_no_more_than_one(choices: list[int], n: int) -> None:
    before = [[v - 1] if v else [] for v in range(len(choices))]
    one = birthday.estimate(choices, n).layers
    assert birthday.several_donors(choices, before, n) == pytest.approx(one)


def test_in_a_graph_layers_survive_what_does_not_lie_before_them() -> None:
    found = birthday.several_donors([2, 3, 5], [[], [], [0, 1]], 1)
    assert found == pytest.approx(1 / 2 + 1 / 3 + 1 / 30)
    diamond = birthday.several_donors([2, 2, 2, 2], [[], [0], [0], [1, 2]], 1)
    assert diamond == pytest.approx(1 / 2 + 1 / 4 + 1 / 4 + 1 / 16)


def test_any_two_of_23_share_a_birthday_more_often_than_not() -> None:
    assert birthday.any_two([365], 23)[0] == pytest.approx(0.5073, abs=5e-5)
    assert birthday.any_two([365], 366)[0] == 1


def test_bytes_count_where_they_are_given() -> None:
    found = birthday.estimate([2, 2], 1, nbytes=[100, 0])
    assert found.nbytes == pytest.approx(50)
    assert found.dedup_ratio == pytest.approx(1)
    assert birthday.estimate([1, 1], 4, nbytes=[8, 8]).dedup_ratio == pytest.approx(4)


def test_huge_spaces_are_no_overflow() -> None:
    found = birthday.estimate([391] * 500, 1000)
    assert math.isfinite(found.distinct)
    assert found.dedup_ratio == pytest.approx(1, rel=1e-2)


def test_a_measured_population_is_held_against_the_estimate() -> None:
    measured = birthday.Trials.of([4, 5, 6])
    assert measured.ratio(2.5) == pytest.approx(2)
    assert measured.z(5) == 0
    assert birthday.Trials.of([3, 3]).z(3) == 0
    assert birthday.Trials.of([3, 3]).z(2) == math.inf


def test_what_is_no_space_is_refused() -> None:
    for wrong in ([], [2, 0]):
        with pytest.raises(SpaceError, match="expected one or more at each position"):
            birthday.estimate(wrong, 3)
    with pytest.raises(SpaceError, match="-1 models"):
        birthday.estimate([2], -1)
    with pytest.raises(SpaceError, match="sum to 1"):
        birthday.uneven([[0.5, 0.6]], 3)
    with pytest.raises(SpaceError, match="use `simulate`"):
        birthday.uneven([[0.1] * 10] * 8, 3)
    for method in (birthday.child, lambda *given: birthday.simulate_child(*given[:2], 10)):
        with pytest.raises(SpaceError, match="expected a second one"):
            method([1, 1], 3)
    with pytest.raises(SpaceError, match="expected a second one"):
        birthday.child([2, 2], 3, [0, 0])
    with pytest.raises(SpaceError, match="2 of at least 0"):
        birthday.child([2, 2], 3, [1, math.nan])
    for size in (math.nan, math.inf, -1):
        with pytest.raises(SpaceError, match="finite numbers of at least 0"):
            birthday.estimate([2], 3, nbytes=[size])
    with pytest.raises(SpaceError, match="is not before it"):
        birthday.several_donors([2, 2], [[1], []], 3)
    with pytest.raises(SpaceError, match="two or more"):
        birthday.Trials.of([1])
