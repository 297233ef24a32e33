"""Which items take part, and in which order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench_core.data import DataError, Subset, balanced_order, stratified_split

labellings = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(np.array)
seeds = st.integers(0, 5)


@given(labels=labellings, seed=seeds)
def test_every_beginning_is_as_balanced_as_the_classes_allow(labels: np.ndarray, seed: int) -> None:
    order = balanced_order(labels, seed)
    assert sorted(order) == list(range(len(labels)))
    sizes = np.bincount(labels, minlength=5)
    for end in range(1, len(labels) + 1):
        counts = np.bincount(labels[order[:end]], minlength=5)
        has_more = counts < sizes
        # A class that could still give an item lags behind no other by more than one.
        if has_more.any():
            assert counts[has_more].min() >= counts.max() - 1


@given(labels=labellings, seed=seeds, data=st.data())
@pytest.mark.parametrize("order", ["balanced", "shuffled", "stored"])
def test_a_subset_begins_a_larger_one(
    order: str, labels: np.ndarray, seed: int, data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, len(labels)))
    small = Subset(count, -1, order, seed).train(labels)  # type: ignore[arg-type]
    whole = Subset(-1, -1, order, seed).train(labels)  # type: ignore[arg-type]
    assert small.tolist() == whole[:count].tolist()
    assert len(set(small.tolist())) == count


def test_seeds_differ_and_repeat() -> None:
    labels = np.arange(40) % 4
    assert balanced_order(labels, 0).tolist() == balanced_order(labels, 0).tolist()
    assert balanced_order(labels, 0).tolist() != balanced_order(labels, 1).tolist()


def test_the_classes_do_not_take_turns_in_one_fixed_order() -> None:
    labels = np.arange(400) % 4
    rounds = labels[balanced_order(labels, 0)].reshape(-1, 4)
    assert len({tuple(turn) for turn in rounds.tolist()}) > 10


def test_stored_order_is_kept() -> None:
    assert Subset(3, order="stored").train(np.zeros(5, int)).tolist() == [0, 1, 2]


@given(
    sizes=st.lists(st.integers(2, 15), min_size=1, max_size=5),
    fraction=st.floats(0.05, 0.95),
    seed=seeds,
)
def test_a_split_takes_the_same_fraction_of_each_class(
    sizes: list[int], fraction: float, seed: int
) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    train, test = stratified_split(labels, fraction, seed)
    assert sorted([*train, *test]) == list(range(len(labels)))
    for label, size in enumerate(sizes):
        n_test = int((labels[test] == label).sum())
        assert 1 <= n_test <= size - 1
        assert abs(n_test - size * fraction) <= 1


def test_a_class_may_be_absent_but_not_single() -> None:
    train, test = stratified_split(np.array([0, 0, 2, 2]), 0.5, 0)
    assert len(train) == len(test) == 2
    with pytest.raises(DataError, match="class 1 has a single item"):
        stratified_split(np.array([0, 0, 1]), 0.5, 0)
    with pytest.raises(DataError, match="fraction"):
        stratified_split(np.array([0, 0]), 1.0, 0)


def test_more_items_than_there_are_is_refused() -> None:
    with pytest.raises(DataError, match="9 training items were asked for, but there are 4"):
        Subset(num_train_items=9).train(np.zeros(4, int))
    with pytest.raises(DataError, match="5 test items"):
        Subset(num_test_items=5).test(np.zeros(4, int))


@pytest.mark.parametrize("count", [0, -2])
def test_senseless_numbers_are_refused(count: int) -> None:
    with pytest.raises(DataError, match=f"is {count}, expected"):
        Subset(num_test_items=count)
    with pytest.raises(DataError, match="order 'random'"):
        Subset(order="random")  # type: ignore[arg-type]
