"""Our order: the least memory that we know to find, never more than the published one.

The best depth-first order of each node is exact; beside it stands the rule to run several children
first, then to free their parent, then to descend. Small trees are solved exactly over all orders.
The problem is that of pebbling a tree (Liu, "An application of generalized tree pebbling to sparse
matrix factorization", SIAM J. Algebraic Discrete Methods 8(3), 1987), turned upside down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench_core.model_search.planning.all_orders import MOST_UNITS, least_peak
from bench_core.model_search.planning.dfs_plus import dfs_plus
from bench_core.model_search.planning.prefix_tree import ROOT
from bench_core.model_search.planning.schedule import Schedule, Step, scheduled
from bench_core.model_search.planning.units import ExecutionTree

_MOST_FIRST = 32
"""Children of one node that are tried as those that run before their parent is freed."""


@dataclass(frozen=True)
class _Walk:
    """How a node's children are gone through, and what that takes, the node's output included."""

    peak: int
    inside: tuple[int, ...]
    """Children whose sub-trees are finished while the node's output is still there."""
    first: tuple[int, ...]
    """Children that run last, one after the other; then the node is freed, then they go on."""


def best_order(tree: ExecutionTree, sizes: Sequence[int], retained: Sequence[int]) -> Schedule:
    """Return the schedule of the least peak that is found.

    Args:
        tree: what is walked.
        sizes: bytes an item of each unit's output, until it is released.
        retained: bytes an item of each unit's features, which stay.
    """
    ours = _Planner(tree, sizes, retained).schedule()
    published = dfs_plus(tree, sizes, retained)
    best = ours if ours.peak <= published.peak else published
    if len(tree.units) > MOST_UNITS:
        return best
    return least_peak(tree, sizes, retained, below=best.peak) or best


class _Planner:
    """Plans bottom-up: a unit's index is above its parent's."""

    def __init__(self, tree: ExecutionTree, sizes: Sequence[int], retained: Sequence[int]) -> None:
        self.tree, self.sizes, self.retained = tree, sizes, retained
        n_units = len(tree.units)
        self.out = [size + kept for size, kept in zip(sizes, retained, strict=True)]
        self.peak = self.out.copy()
        """Of each sub-tree, from the moment at which its first unit has run."""
        self.rest = list(retained)
        """What stays of each sub-tree when it is done."""
        self.walks: list[_Walk | None] = [None] * n_units

    def schedule(self) -> Schedule:
        for unit in reversed(self.tree.units):
            if unit.children:
                walk = self._walk(unit.index, unit.children)
                self.walks[unit.index] = walk
                self.peak[unit.index] = walk.peak
                self.rest[unit.index] += sum(self.rest[child] for child in unit.children)
        return scheduled(self.tree, self.sizes, self.retained, self._steps())

    def _walk(self, unit: int, children: Sequence[int]) -> _Walk:
        """Return the best of the walks that are tried."""
        ordered = sorted(children, key=lambda c: self.rest[c] - self.peak[c])
        best = self._depth_first(unit, ordered)
        inner = sorted((c for c in ordered if self.sizes[c]), key=self.sizes.__getitem__)
        for count in range(2, min(len(inner), _MOST_FIRST) + 1):
            first = set(inner[:count])
            walk = self._together(unit, [c for c in ordered if c not in first], inner[:count])
            best = min(best, walk, key=lambda walk: walk.peak)
        return best

    def _depth_first(self, unit: int, ordered: Sequence[int]) -> _Walk:
        """Return the best depth-first walk: of all choices of the last child.

        The others go by what they need above what they leave, the most first: exchanging two
        neighbours never helps then.
        """
        base = self.out[unit]
        before = [0]
        tops = []
        for child in ordered:
            tops.append(before[-1] + max(self.out[child], self.peak[child]))
            before.append(before[-1] + self.rest[child])
        tops_after = [0] * (len(ordered) + 1)
        for index in range(len(ordered) - 1, -1, -1):
            tops_after[index] = max(tops[index], tops_after[index + 1])
        top_before, best = 0, (2**62, 0)
        for index, last in enumerate(ordered):
            left = before[-1] - self.rest[last]
            inside = max(top_before, tops_after[index + 1] - self.rest[last])
            at_last = left + self.out[last]
            descend = self.retained[unit] + left + self.peak[last]
            best = min(best, (max(base + inside, base + at_last, descend), index))
            top_before = max(top_before, tops[index])
        peak, index = best
        return _Walk(peak, (*ordered[:index], *ordered[index + 1 :]), (ordered[index],))

    def _together(self, unit: int, inside: Sequence[int], first: Sequence[int]) -> _Walk:
        """Return the walk in which these children run before the unit is freed."""
        live, peak = self.out[unit], self.out[unit]
        for child in inside:
            peak = max(peak, live + max(self.out[child], self.peak[child]))
            live += self.rest[child]
        live += sum(self.out[child] for child in first)
        peak = max(peak, live)
        live -= self.sizes[unit]
        order = sorted(first, key=self._descent)
        for child in order:
            peak = max(peak, live + self.peak[child] - self.out[child])
            live += self.rest[child] - self.out[child]
        return _Walk(peak, tuple(inside), tuple(order))

    def _descent(self, child: int) -> tuple[bool, int]:
        """Sort children that wait: first what frees memory, by need; then what fills it."""
        need, change = self.peak[child] - self.out[child], self.rest[child] - self.out[child]
        return (False, need) if change <= 0 else (True, change - need)

    def _steps(self) -> list[Step]:
        tree = self.tree
        steps: list[Step] = []
        roots = sorted(tree.roots, key=lambda c: self.rest[c] - self.peak[c])
        # What is to be done, the next at the end: a step, or the walk below a unit (None).
        pending: list[tuple[Step | None, int]] = []
        for root in reversed(roots):
            pending += [(None, root), (Step("compute", root), ROOT)]
        while pending:
            step, below = pending.pop()
            if step is not None:
                steps.append(step)
                continue
            walk = self.walks[below]
            if walk is None:
                steps.append(Step("release", below))
                continue
            pending += [(None, child) for child in reversed(walk.first)]
            pending.append((Step("release", below), ROOT))
            pending += [(Step("compute", child), ROOT) for child in walk.first]
            for child in reversed(walk.inside):
                pending += [(None, child), (Step("compute", child), ROOT)]
        return steps
