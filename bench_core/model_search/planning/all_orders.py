"""The least peak over all orders of a small tree, by a search over what has run so far."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Final

from bench_core.model_search.planning.prefix_tree import ROOT
from bench_core.model_search.planning.schedule import Schedule, Step, scheduled
from bench_core.model_search.planning.units import ExecutionTree

MOST_UNITS: Final = 16
_MOST_STATES: Final = 20_000


def least_peak(
    tree: ExecutionTree, sizes: Sequence[int], retained: Sequence[int]
) -> Schedule | None:
    """Return a schedule of the least peak there is, or None where the tree is too large for that.

    A state is the set of units that have run; an output is released as soon as the last unit that
    starts from it has run, which never costs memory. The way with the least largest level is
    found as Dijkstra finds the shortest.
    """
    units = tree.units
    children = [sum(1 << child for child in unit.children) for unit in units]
    start, goal = 0, (1 << len(units)) - 1
    best = {start: 0}
    came: dict[int, tuple[int, int]] = {}
    queue = [(0, 0, start)]
    while queue:
        peak, level, state = heapq.heappop(queue)
        if state == goal:
            return scheduled(tree, sizes, retained, _steps(tree, came, children))
        if peak > best[state] or len(best) > _MOST_STATES:
            if len(best) > _MOST_STATES:
                return None
            continue
        for unit in units:
            bit = 1 << unit.index
            if state & bit or (unit.parent != ROOT and not state >> unit.parent & 1):
                continue
            after = state | bit
            top = max(peak, level + sizes[unit.index] + retained[unit.index])
            if top < best.get(after, 2**62):
                best[after], came[after] = top, (state, unit.index)
                freed = _freed(tree, sizes, after, unit.index, children)
                now = level + sizes[unit.index] + retained[unit.index] - freed
                heapq.heappush(queue, (top, now, after))
    return None


def _freed(
    tree: ExecutionTree, sizes: Sequence[int], state: int, index: int, children: Sequence[int]
) -> int:
    return sum(sizes[unit] for unit in _over(tree, state, index, children))


def _over(tree: ExecutionTree, state: int, index: int, children: Sequence[int]) -> list[int]:
    """Return whose outputs nothing needs any more once a unit has run."""
    parent = tree.units[index].parent
    candidates = [index] if parent == ROOT else [index, parent]
    return [unit for unit in candidates if children[unit] & state == children[unit]]


def _steps(
    tree: ExecutionTree, came: dict[int, tuple[int, int]], children: Sequence[int]
) -> list[Step]:
    state = (1 << len(tree.units)) - 1
    order = []
    while state:
        state, index = came[state]
        order.append(index)
    steps = []
    for index in reversed(order):
        state |= 1 << index
        steps.append(Step("compute", index))
        steps += [Step("release", over) for over in _over(tree, state, index, children)]
    return steps
