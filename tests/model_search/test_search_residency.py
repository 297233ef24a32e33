"""Which blocks stay in memory: the plan never exceeds its budget, and reads as little as can be."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_residency import plain_residency

from bench_core.model_search.errors import BudgetError
from bench_core.model_search.residency import Move, loaded_bytes, plan_residency

keys = st.sampled_from("abcdef")
single = st.lists(keys.map(lambda key: [key]), min_size=1, max_size=9)
groups = st.lists(st.lists(keys, min_size=1, max_size=3, unique=True), min_size=1, max_size=12)
EQUAL = dict.fromkeys("abcdef", 1)
SIZES = {key: 3 * i + 1 for i, key in enumerate("abcdef")}


many_keys = st.integers(0, 19).map(str)
"""More than fit, so that much is evicted; few sizes, so that there are ties."""
long_groups = st.lists(st.lists(many_keys, max_size=4), min_size=1, max_size=40)


def carry_out(moves: list[Move], wanted: list[list[str]], resident: set[str]) -> list[set[str]]:
    """Return what is in memory while each group is used; a move that cannot be made fails."""
    states = []
    for index, (move, group) in enumerate(zip(moves, wanted, strict=True)):
        assert set(move.evict) <= resident
        assert not set(move.load) & resident
        assert move.free_from <= index
        assert not set(move.evict) & {k for g in wanted[move.free_from : index] for k in g}
        resident = (resident - set(move.evict)) | set(move.load)
        assert set(group) <= resident
        states.append(resident)
    return states


def fewest_loads(wanted: list[list[str]], budget: int) -> int:
    """Return the least number of loads of blocks of size 1 of all ways to evict."""

    @functools.cache
    def after(index: int, resident: frozenset[str]) -> int:
        if index == len(wanted):
            return 0
        (key,) = wanted[index]
        if key in resident:
            return after(index + 1, resident)
        if len(resident) < budget:
            return 1 + after(index + 1, resident | {key})
        return 1 + min(after(index + 1, resident - {out} | {key}) for out in resident)

    return after(0, frozenset())


@given(wanted=groups, budget=st.integers(1, 60), data=st.data())
def test_a_plan_stays_within_its_budget_or_says_that_a_group_is_too_large(
    wanted: list[list[str]], budget: int, data: st.DataObject
) -> None:
    resident = set(data.draw(st.lists(keys, unique=True)))
    largest = max(sum(SIZES[key] for key in group) for group in wanted)
    if largest > budget:
        with pytest.raises(BudgetError, match="needed at once"):
            plan_residency(wanted, SIZES, budget, resident)
        return
    moves = plan_residency(wanted, SIZES, budget, resident)
    for state in carry_out(moves, wanted, resident):
        assert sum(SIZES[key] for key in state) <= budget


@given(wanted=single, budget=st.integers(2, 6))
def test_with_blocks_of_one_size_no_plan_loads_less(wanted: list[list[str]], budget: int) -> None:
    moves = plan_residency(wanted, EQUAL, budget)
    found = loaded_bytes(moves, EQUAL)
    # Keeping the group before in memory, so that reading runs ahead, may cost one place.
    assert fewest_loads(wanted, budget) <= found <= fewest_loads(wanted, budget - 1)


@given(wanted=groups)
def test_what_fits_is_loaded_once(wanted: list[list[str]]) -> None:
    moves = plan_residency(wanted, SIZES, sum(SIZES.values()))
    loaded = [key for move in moves for key in move.load]
    assert sorted(loaded) == sorted({key for group in wanted for key in group})
    assert all(not move.evict for move in moves)


def outcome(
    plan: Callable[..., list[Move]], wanted: list[list[str]], budget: int, resident: list[str]
) -> list[Move] | str:
    """Return the moves, or the refusal."""
    sizes = {str(number): 1 + number % 3 for number in range(20)}
    try:
        return plan(wanted, sizes, budget, resident)
    except BudgetError as error:
        return str(error)


@given(
    wanted=long_groups,
    passes=st.integers(1, 3),
    budget=st.integers(1, 40),
    resident=st.lists(many_keys, unique=True),
)
@settings(deadline=None, max_examples=400)
def test_the_same_blocks_go_in_the_same_order_as_by_sorting_all_of_them(
    wanted: list[list[str]], passes: int, budget: int, resident: list[str]
) -> None:
    case = (wanted * passes, budget, resident)
    assert outcome(plan_residency, *case) == outcome(plain_residency, *case)
