"""How Alsatian goes about a round: the published order, and chunks by memory alone.

Strassenburg et al., "Alsatian", SIGMOD 2025, sections 3 and 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench_core.model_search.batches import Batch, of_split
from bench_core.model_search.planning import Schedule, chunks, dfs_plus
from bench_core.model_search.units_of_work import UnitsOfWork


@dataclass(frozen=True)
class PublishedPlan:
    """One round of Alsatian."""

    work: UnitsOfWork
    schedule: Schedule
    chunks: tuple[tuple[Batch, ...], ...]
    """Each goes through the whole tree before the next begins; those of the test items first."""

    @property
    def loaded(self) -> int:
        """Bytes of blocks that will be read: those of every unit in every chunk."""
        once = sum(ref.nbytes for unit in self.work.tree.units for ref in self.work.blocks(unit))
        return once * len(self.chunks)


def published_plan(work: UnitsOfWork, batches: Sequence[Batch], budget: int) -> PublishedPlan:
    """Plan the walk of some batches through a tree.

    Args:
        work: the tree.
        batches: what goes through it.
        budget: bytes for intermediate results, as published; blocks are not counted.

    Raises:
        BudgetError: not even the largest batch fits; it says how much that needs.
    """
    schedule = dfs_plus(work.tree, work.output_bytes, work.feature_bytes)
    # Refuses what is too little for either split, before any work is done for one of them.
    chunks([max(map(len, batches), default=0)], schedule.peak, budget)
    found: list[tuple[Batch, ...]] = []
    for split in ("test", "train"):
        wanted = of_split(batches, split)
        parts = chunks([len(batch) for batch in wanted], schedule.peak, budget)
        found += [tuple(wanted[part.start : part.stop]) for part in parts]
    return PublishedPlan(work, schedule, tuple(found))


def least_budget(work: UnitsOfWork, batches: Sequence[Batch]) -> int:
    """Return the fewest bytes with which these batches go through a tree."""
    schedule = dfs_plus(work.tree, work.output_bytes, work.feature_bytes)
    return schedule.peak * max(map(len, batches), default=0)
