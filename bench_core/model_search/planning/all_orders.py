"""The least peak over all orders of a small tree, by a search over what has run so far."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import Final

from bench_core.model_search.planning.prefix_tree import ROOT
from bench_core.model_search.planning.schedule import Schedule, Step, scheduled
from bench_core.model_search.planning.units import ExecutionTree

MOST_UNITS: Final = 20
_MOST_STATES: Final = 1 << 16
"""As many as 16 units have; a second or two. Trees of more units seldom need as many."""


def least_peak(
    tree: ExecutionTree, sizes: Sequence[int], retained: Sequence[int], below: int
) -> Schedule | None:
    """Return a schedule of the least peak there is.

    None where that is not below the given one, or, for more than 16 units, where the search would
    take too long.

    Args:
        tree: what is walked.
        sizes: bytes an item of each unit's output, until it is released.
        retained: bytes an item of each unit's features, which stay.
        below: a peak that is known already.
    """
    orders = _Orders(tree, sizes, retained)
    order = orders.least(below)
    return None if order is None else scheduled(tree, sizes, retained, orders.steps(order))


class _Orders:
    """All orders. A state is the set of units that have run, as bits.

    An output is released as soon as the last unit that starts from it has run, which never costs
    memory; so what is alive follows from the state.
    """

    def __init__(self, tree: ExecutionTree, sizes: Sequence[int], retained: Sequence[int]) -> None:
        self.tree, self.sizes, self.retained = tree, sizes, retained
        self.children = [sum(1 << child for child in unit.children) for unit in tree.units]
        self.all = (1 << len(tree.units)) - 1

    def least(self, below: int) -> list[int] | None:
        """Find the way with the least largest level, as Dijkstra finds the shortest."""
        best = {0: 0}
        came: dict[int, tuple[int, int]] = {}
        queue = [(0, 0, 0)]
        while queue and len(best) <= _MOST_STATES:
            peak, level, state = heapq.heappop(queue)
            if state == self.all:
                return _way(came, state)
            if peak > best[state]:
                continue
            for unit, top, now in self._next(state, level, peak):
                after = state | 1 << unit
                if top < min(below, best.get(after, below)):
                    best[after], came[after] = top, (state, unit)
                    heapq.heappush(queue, (top, now, after))
        return None

    def _next(self, state: int, level: int, peak: int) -> list[tuple[int, int, int]]:
        """Return the units that can run, with the peak and the level that this leads to.

        One that raises neither goes first, whatever comes later: it would never be cheaper then,
        as what it frees can only grow, and all that comes in between has more room.
        """
        found = []
        for unit in self._ready(state):
            needed = level + self.sizes[unit] + self.retained[unit]
            now = needed - sum(self.sizes[over] for over in self._over(state | 1 << unit, unit))
            if needed <= peak and now <= level:
                return [(unit, peak, now)]
            found.append((unit, max(peak, needed), now))
        return found

    def _ready(self, state: int) -> Iterator[int]:
        for unit in self.tree.units:
            parent_ran = unit.parent == ROOT or state >> unit.parent & 1
            if parent_ran and not state >> unit.index & 1:
                yield unit.index

    def _over(self, state: int, ran: int) -> list[int]:
        """Return whose outputs nothing needs any more once a unit has run."""
        parent = self.tree.units[ran].parent
        candidates = [ran] if parent == ROOT else [ran, parent]
        return [unit for unit in candidates if self.children[unit] & state == self.children[unit]]

    def steps(self, order: Sequence[int]) -> list[Step]:
        """Return the order with its releases."""
        state, steps = 0, []
        for unit in order:
            state |= 1 << unit
            steps.append(Step("compute", unit))
            steps += [Step("release", over) for over in self._over(state, unit)]
        return steps


def _way(came: dict[int, tuple[int, int]], state: int) -> list[int]:
    order = []
    while state:
        state, unit = came[state]
        order.append(unit)
    return order[::-1]
