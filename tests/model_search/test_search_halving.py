"""Successive halving: the published ranges, and rounds that fit any number of models and items."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench_core.model_search.batches import batches_of, cut
from bench_core.model_search.errors import SearchError
from bench_core.model_search.halving import Halving, Round, least_items, plan_rounds

PUBLISHED = Halving(last_round=True)


@pytest.mark.parametrize(
    ("n_train", "sizes"),
    [
        (1600, [25, 50, 100, 200, 400, 825]),
        (6400, [100, 200, 400, 800, 1600, 3300]),
        (800, [13, 26, 52, 104, 208, 397]),
    ],
)
def test_the_published_ranges_of_35_models(n_train: int, sizes: list[int]) -> None:
    rounds = plan_rounds(35, n_train, PUBLISHED)
    assert [r.stop - r.start for r in rounds] == sizes
    assert [r.n_models for r in rounds] == [35, 17, 8, 4, 2, 1]
    assert [r.start for r in rounds] == [0, *[r.stop for r in rounds[:-1]]]


def test_the_last_round_of_one_model_is_left_out() -> None:
    assert plan_rounds(35, 1600, Halving()) == [
        Round(r.index, r.start, r.stop, r.n_models, r.keep)
        for r in plan_rounds(35, 1600, PUBLISHED)[:-1]
    ]


@given(n_models=st.integers(1, 300), n_train=st.integers(1, 5000), factor=st.integers(2, 5))
def test_rounds_follow_each_other_or_the_data_are_too_few(
    n_models: int, n_train: int, factor: int
) -> None:
    halving = Halving(factor=factor, last_round=True)
    try:
        rounds = plan_rounds(n_models, n_train, halving)
    except SearchError as error:
        least = int(str(error).split("give at least ")[1].split(",")[0])
        assert n_train < least
        assert plan_rounds(n_models, least, halving)[0].stop == 2
        return
    assert n_models == 1 or rounds[0].stop >= 2
    assert rounds[0].start == 0
    assert rounds[-1].stop == n_train
    for before, after in itertools.pairwise(rounds):
        assert after.start == before.stop < after.stop
        assert after.n_models == before.keep == max(1, before.n_models // factor)
    deciding = [r for r in rounds if r.n_models > 1] or rounds
    assert plan_rounds(n_models, n_train, Halving(factor=factor)) == deciding


@given(n_models=st.integers(2, 300), winners=st.integers(1, 20), factor=st.integers(2, 4))
def test_the_winners_are_never_halved_away(n_models: int, winners: int, factor: int) -> None:
    rounds = plan_rounds(n_models, 100_000, Halving(factor, winners))
    assert rounds[-1].keep == min(n_models, winners)
    assert all(r.n_models > winners for r in rounds) or len(rounds) == 1


@given(
    n_models=st.integers(1, 300),
    factor=st.integers(2, 5),
    winners=st.integers(1, 20),
    first_round=st.integers(2, 200),
)
def test_the_least_items_give_the_first_round_so_many_and_one_less_does_not(
    n_models: int, factor: int, winners: int, first_round: int
) -> None:
    halving = Halving(factor, winners)
    least = least_items(n_models, halving, first_round)
    assert plan_rounds(n_models, least, halving)[0].stop == first_round
    if first_round > 2:
        assert plan_rounds(n_models, least - 1, halving)[0].stop == first_round - 1
    elif n_models > winners:
        with pytest.raises(SearchError, match=f"give at least {least},"):
            plan_rounds(n_models, least - 1, halving)


def test_one_and_two_models() -> None:
    assert plan_rounds(1, 10, Halving()) == [Round(0, 0, 10, 1, 1)]
    assert plan_rounds(2, 10, Halving()) == [Round(0, 0, 10, 2, 1)]
    assert plan_rounds(5, 10, None) == [Round(0, 0, 10, 5, 5)]


@pytest.mark.parametrize(
    ("n_models", "n_train", "text"),
    [(0, 5, "0 models"), (5, 0, "0 training items"), (35, 64, "give at least 65,")],
)
def test_what_cannot_be_halved_is_refused(n_models: int, n_train: int, text: str) -> None:
    with pytest.raises(SearchError, match=text):
        plan_rounds(n_models, n_train, Halving())


@pytest.mark.parametrize("wrong", [{"factor": 1}, {"winners": 0}])
def test_a_halving_that_means_nothing_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(SearchError, match="at least"):
        Halving(**wrong)


@given(start=st.integers(0, 50), length=st.integers(0, 200), size=st.integers(1, 64))
def test_batches_cover_a_range(start: int, length: int, size: int) -> None:
    batches = cut("train", start, start + length, size)
    assert [i for b in batches for i in b.indices] == list(range(start, start + length))
    assert all(len(batch) == size for batch in batches[:-1])


def test_test_items_belong_to_the_first_round() -> None:
    first, second = plan_rounds(4, 100, Halving())
    assert {b.split for b in batches_of(first, 10, 8)} == {"test", "train"}
    assert {b.split for b in batches_of(second, 10, 8)} == {"train"}
