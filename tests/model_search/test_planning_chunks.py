"""Chunks: whole batches in their order, within the budget, and as few chunks as there can be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench_core.model_search.errors import BudgetError
from bench_core.model_search.planning import chunks

batches = st.lists(st.integers(1, 9), max_size=8)


def fewest(sizes: list[int], most_items: int) -> int:
    """Return the least number of chunks of all ways to cut."""
    ways = range(1 << max(len(sizes) - 1, 0))
    return min(len(cut) for way in ways if max(map(sum, cut := parts(sizes, way))) <= most_items)


def parts(sizes: list[int], way: int) -> list[list[int]]:
    """Return the chunks that are cut behind batch i where bit i is set."""
    found: list[list[int]] = [[]]
    for index, size in enumerate(sizes):
        found[-1].append(size)
        if way >> index & 1:
            found.append([])
    return found


@given(sizes=batches, peak=st.integers(1, 5), budget=st.integers(45, 200))
def test_chunks_are_whole_batches_in_order_within_the_budget_and_as_few_as_can_be(
    sizes: list[int], peak: int, budget: int
) -> None:
    found = chunks(sizes, peak, budget)
    assert [index for part in found for index in part] == list(range(len(sizes)))
    for part in found:
        assert sum(sizes[index] for index in part) * peak <= budget
    if sizes:
        assert len(found) == fewest(sizes, budget // peak)


def test_a_budget_of_exactly_one_batch_is_enough_and_one_byte_less_is_not() -> None:
    assert chunks([4, 4, 2], 10, 40) == [range(1), range(1, 2), range(2, 3)]
    with pytest.raises(BudgetError) as caught:
        chunks([4, 4, 2], 10, 39)
    assert str(caught.value) == (
        "a memory budget of 39 bytes; at least 40 are needed with batches of 4 items, 10 with "
        "batches of one"
    )


def test_what_takes_no_memory_is_one_chunk() -> None:
    assert chunks([7, 7], 0, 0) == [range(2)]


def test_no_batch_is_no_chunk() -> None:
    assert chunks([], 10, 0) == []
