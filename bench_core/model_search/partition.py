"""Parts of a round for several workers: which models run over which batches."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench_core.model_search.batches import Batch
from bench_core.model_search.planning.prefix_tree import ROOT
from bench_core.model_search.planning.tree_cut import cut_tree
from bench_core.model_search.units_of_work import UnitsOfWork

_FLOPS_A_BYTE: Final = 25
"""What reading a byte costs: some 50 GFLOP/s of a core against some 2 GB/s of a disk. It decides
only between parts that compute about as long."""


@dataclass(frozen=True)
class Part:
    """What one worker does in a round."""

    models: tuple[int, ...]
    batches: tuple[Batch, ...]


@dataclass(frozen=True)
class _Group:
    """Models that run together, over all batches or over a run of them for each of some workers."""

    models: tuple[int, ...]
    flops: int
    """For one item."""
    reading: int
    """Of the blocks, in operations that take as long; every worker reads them."""

    def slowest(self, batches: Sequence[Batch], n_workers: int) -> int:
        """Return the cost of the longest run of batches."""
        most = max(sum(map(len, run)) for run in runs(batches, n_workers))
        return self.flops * most + self.reading


@dataclass(frozen=True)
class _Costs:
    """What each unit of a tree costs."""

    work: UnitsOfWork
    flops: list[int]
    reading: list[int]

    @classmethod
    def of(cls, work: UnitsOfWork) -> _Costs:
        units = work.tree.units
        return cls(
            work,
            [sum(needs.flops for needs in work.resources(unit)) for unit in units],
            [_FLOPS_A_BYTE * work.block_bytes(unit) for unit in units],
        )

    def groups(self, n_items: int, number: int) -> list[_Group]:
        """Return the models in at most so many groups that take about as long."""
        costs = [f * n_items + r for f, r in zip(self.flops, self.reading, strict=True)]
        return [self.group(models) for models, _ in cut_tree(self.work.tree, costs, number)]

    def group(self, models: Sequence[int]) -> _Group:
        """Return the models with the cost of all units that they need."""
        wanted, needed = set(models), set()
        for unit in reversed(self.work.tree.units):
            if unit.index in needed or wanted.intersection(unit.models):
                needed |= {unit.index, unit.parent}
        needed.discard(ROOT)
        flops, reading = (sum(cost[i] for i in needed) for cost in (self.flops, self.reading))
        return _Group(tuple(models), flops, reading)


def partition(work: UnitsOfWork, batches: Sequence[Batch], n_workers: int) -> list[Part]:
    """Cut a round into at most so many parts, the slowest of them as short as can be found.

    Models are dealt to groups; what groups share is computed and read in each of them. A group's
    batches may be dealt to several workers, which computes nothing twice but reads its blocks for
    each of them: better where one chain is most of the work, or where models share nearly all.
    Every number of groups is tried, and each worker in turn goes to the group that is slowest.

    Args:
        work: the execution tree of the models.
        batches: what goes through it, at least one.
        n_workers: how many parts at most.
    """
    ends = sum(bool(unit.models) for unit in work.tree.units)
    costs, n_items = _Costs.of(work), sum(map(len, batches))
    choices = [
        _shares(costs.groups(n_items, number), batches, n_workers)
        for number in range(1, min(n_workers, ends) + 1)
    ]
    best = min(choices, key=lambda shares: max(g.slowest(batches, n) for g, n in shares))
    return [Part(group.models, run) for group, number in best for run in runs(batches, number)]


def runs(batches: Sequence[Batch], number: int) -> list[tuple[Batch, ...]]:
    """Return the batches, in order, as so many runs of nearly the same length."""
    borders = [len(batches) * index // number for index in range(number + 1)]
    return [tuple(batches[start:stop]) for start, stop in itertools.pairwise(borders)]


def _shares(
    groups: Sequence[_Group], batches: Sequence[Batch], n_workers: int
) -> list[tuple[_Group, int]]:
    """Say for each group how many workers its batches are dealt to."""
    numbers = [1] * len(groups)
    for _ in range(n_workers - len(groups)):
        costs = [g.slowest(batches, n) for g, n in zip(groups, numbers, strict=True)]
        slowest = max(range(len(groups)), key=costs.__getitem__)
        if numbers[slowest] == len(batches):
            break
        numbers[slowest] += 1
    return list(zip(groups, numbers, strict=True))
