"""An order of computing and releasing, and its independent check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench_core.model_search.errors import SearchError
from bench_core.model_search.planning.prefix_tree import ROOT
from bench_core.model_search.planning.units import ExecutionTree


class PlanError(SearchError):
    """A schedule that cannot be carried out."""


@dataclass(frozen=True)
class Step:
    """Run a unit, or forget its output."""

    kind: Literal["compute", "release"]
    unit: int


@dataclass(frozen=True)
class Schedule:
    """A walk through the whole tree."""

    steps: tuple[Step, ...]
    peak: int
    """Most bytes an item that are alive at once, features that stay included."""


def simulate(
    tree: ExecutionTree,
    sizes: Sequence[int],
    retained: Sequence[int],
    steps: Sequence[Step],
) -> list[int]:
    """Return the bytes an item that are alive after each step.

    Args:
        tree: what is walked.
        sizes: bytes of each unit's output, until it is released.
        retained: bytes of each unit's features, which stay.
        steps: the walk.

    Raises:
        PlanError: a unit runs twice, or not at all; something is used that is not there, or is
            released too early, twice or never.
    """
    live, levels = 0, []
    there: set[int] = set()
    done: set[int] = set()
    for step in steps:
        unit = tree.units[step.unit]
        if step.kind == "compute":
            if unit.index in done:
                raise PlanError(f"unit {unit.index} runs twice")
            if unit.parent != ROOT and unit.parent not in there:
                raise PlanError(f"unit {unit.index} starts from {unit.parent}, which is not there")
            done.add(unit.index)
            there.add(unit.index)
            live += sizes[unit.index] + retained[unit.index]
        else:
            if unit.index not in there or not done.issuperset(unit.children):
                raise PlanError(f"unit {unit.index} is released at the wrong time")
            there.remove(unit.index)
            live -= sizes[unit.index]
        levels.append(live)
    if len(done) < len(tree.units) or there:
        raise PlanError(f"{len(tree.units) - len(done)} units never run, {len(there)} stay")
    return levels


def scheduled(
    tree: ExecutionTree, sizes: Sequence[int], retained: Sequence[int], steps: Sequence[Step]
) -> Schedule:
    """Return the schedule with its peak; it is checked on the way."""
    return Schedule(tuple(steps), max(simulate(tree, sizes, retained, steps)))
