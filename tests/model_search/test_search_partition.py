"""Cutting a round for several workers: nothing lost, nothing twice, near the best there is."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_sets import chains, items, store_of

from bench_core.model_search.batches import cut
from bench_core.model_search.candidates import Candidates
from bench_core.model_search.partition import Part, partition, runs
from bench_core.model_search.planning import ExecutionTree, PrefixTree, cut_tree
from bench_core.model_search.units_of_work import UnitsOfWork

small_sets = st.lists(chains, min_size=1, max_size=6)


def tree_of(models: Iterable[Sequence[int]]) -> ExecutionTree:
    return ExecutionTree.of(PrefixTree.of([[str(seed) for seed in chain] for chain in models]))


def work_of(folder: Path, models: Sequence[Sequence[int]]) -> UnitsOfWork:
    store = store_of(folder, models)
    snapshots = [store.snapshot(name) for name in store.names()]
    candidates = Candidates.of(snapshots, items(60))
    return UnitsOfWork(ExecutionTree.of(PrefixTree.of(candidates.keys)), candidates)


def union(tree: ExecutionTree, costs: Sequence[int], models: Iterable[int]) -> int:
    """Return the cost of all units on the ways of some models."""
    needed, wanted = set(), set(models)
    for unit in reversed(tree.units):
        if unit.index in needed or wanted & set(unit.models):
            needed |= {unit.index, unit.parent}
    return sum(costs[index] for index in needed - {-1})


def cost(work: UnitsOfWork, part: Part) -> int:
    """Return what a part takes: to compute its items, and to read its blocks at 25 FLOP a byte."""
    flops = [sum(needs.flops for needs in work.resources(unit)) for unit in work.tree.units]
    reading = [25 * work.block_bytes(unit) for unit in work.tree.units]
    n_items = sum(map(len, part.batches))
    return n_items * union(work.tree, flops, part.models) + union(work.tree, reading, part.models)


def best_possible(tree: ExecutionTree, costs: Sequence[int], n_parts: int) -> int:
    """Return the cost of the slowest part of the best parts, by trying all."""
    ends = [unit.models for unit in tree.units if unit.models]
    return min(
        max(
            union(
                tree, costs, (m for e, p in zip(ends, dealt, strict=True) if p == part for m in e)
            )
            for part in range(n_parts)
        )
        for dealt in itertools.product(range(n_parts), repeat=len(ends))
    )


@given(models=small_sets, n_parts=st.integers(1, 3), data=st.data())
@settings(deadline=None, max_examples=200)
def test_parts_hold_every_model_once_and_are_near_the_best(
    models: list[tuple[int, ...]], n_parts: int, data: st.DataObject
) -> None:
    tree = tree_of(models)
    n_units = len(tree.units)
    costs = data.draw(st.lists(st.integers(0, 100), min_size=n_units, max_size=n_units))
    parts = cut_tree(tree, costs, n_parts)
    assert sorted(m for part, _ in parts for m in part) == list(range(len(models)))
    assert len(parts) <= n_parts
    assert [cost for _, cost in parts] == [union(tree, costs, part) for part, _ in parts]
    best = best_possible(tree, costs, n_parts)
    assert best <= parts[0][1] <= 1.25 * best


def test_identical_models_stay_together() -> None:
    tree = tree_of([(0, 1), (0, 2), (0, 1), (0, 1)])
    parts = {models for models, _ in cut_tree(tree, [1, 5, 5], 4)}
    assert parts == {(0, 2, 3), (1,)}


def test_a_shared_prefix_stays_in_one_part_where_that_is_no_slower() -> None:
    tree = tree_of([(0, 1), (0, 2), (1, 1), (1, 2)])
    parts = {models for models, _ in cut_tree(tree, [10] * 6, 2)}
    assert parts == {(0, 1), (2, 3)}


def test_a_thousand_models_are_cut_evenly() -> None:
    tree = tree_of([(i % 3, i % 30, i) for i in range(1000)])
    costs = [7] * len(tree.units)
    slowest = cut_tree(tree, costs, 8)[0][1]
    assert slowest <= 1.05 * sum(costs) / 8


class CountedCosts(list[int]):
    """Costs that count how often one is looked up."""

    looked_up = 0

    def __getitem__(self, index: Any) -> Any:
        self.looked_up += 1
        return super().__getitem__(index)


@pytest.mark.parametrize("n_parts", [2, 8])
def test_cutting_takes_as_long_as_there_are_models(n_parts: int) -> None:
    def looked_up(n_models: int) -> int:
        tree = tree_of([(0, 1, 2, i % 7, i) for i in range(n_models)])
        costs = CountedCosts(1 + unit.index % 5 for unit in tree.units)
        parts = cut_tree(tree, costs, n_parts)
        assert parts[0][1] <= 1.05 * sum(costs) / n_parts
        return costs.looked_up

    assert looked_up(4000) < 6 * looked_up(1000)


@given(
    models=small_sets,
    n_items=st.integers(1, 40),
    size=st.integers(1, 9),
    n_workers=st.integers(1, 5),
)
@settings(deadline=None, max_examples=40)
def test_every_model_meets_every_batch_once(
    models: list[tuple[int, ...]],
    n_items: int,
    size: int,
    n_workers: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    work = work_of(tmp_path_factory.mktemp("store"), models)
    batches = cut("train", 0, n_items, size)
    parts = partition(work, batches, n_workers)
    met = [(model, batch) for part in parts for model in part.models for batch in part.batches]
    assert sorted(met) == sorted(itertools.product(range(len(models)), batches))
    assert len(parts) <= n_workers
    whole = Part(tuple(range(len(models))), tuple(batches))
    assert max(cost(work, part) for part in parts) <= cost(work, whole)


def test_one_model_is_dealt_by_batches(tmp_path: Path) -> None:
    work, batches = work_of(tmp_path, [(0, 1, 2)]), cut("train", 0, 6400, 32)
    parts = partition(work, batches, 3)
    assert [part.models for part in parts] == [(0,)] * 3
    assert [len(part.batches) for part in parts] == [66, 67, 67]


def test_models_that_share_nothing_are_dealt_by_models(tmp_path: Path) -> None:
    work, batches = work_of(tmp_path, [(0, 1), (1, 1), (2, 1)]), cut("train", 0, 6400, 32)
    parts = partition(work, batches, 3)
    assert sorted(part.models for part in parts) == [(0,), (1,), (2,)]
    assert all(part.batches == tuple(batches) for part in parts)


def test_one_long_model_beside_a_short_one_gets_more_workers(tmp_path: Path) -> None:
    work, batches = work_of(tmp_path, [(0, 1, 2, 1), (1,)]), cut("train", 0, 6400, 32)
    parts = partition(work, batches, 3)
    assert [part.models for part in parts].count((1,)) <= 1
    assert sum(0 in part.models for part in parts) >= 2


@given(n_batches=st.integers(1, 20), number=st.integers(1, 20))
def test_runs_are_nearly_of_one_length(n_batches: int, number: int) -> None:
    batches = cut("test", 0, n_batches, 1)
    found = runs(batches, number)
    assert [batch for run in found for batch in run] == batches
    assert max(map(len, found)) - min(map(len, found)) <= 1
