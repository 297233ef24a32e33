"""Cutting the execution tree into parts for several workers, so that the slowest ends early."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from bench_core.model_search.planning.prefix_tree import ROOT
from bench_core.model_search.planning.units import ExecutionTree

_PIECES: Final = 16
"""Sub-trees a part at most: finer ones would even out less than a sixteenth of a part."""


@dataclass(frozen=True)
class _Piece:
    """Models that stay together: a whole sub-tree, or those that end at one unit."""

    models: tuple[int, ...]
    above: tuple[int, ...]
    """The units that must run first, the nearest one first."""
    cost: int
    """Of its own units, which no other piece needs."""
    root: int
    """The unit that it hangs on."""
    is_whole: bool
    """Whether it is the sub-tree of ``root``, not the models alone that end there."""


@dataclass
class _Bin:
    """A part in the making."""

    cost: int = 0
    models: list[int] = field(default_factory=list)
    units: set[int] = field(default_factory=set)
    """Those that pieces start from; each runs once."""


def cut_tree(
    tree: ExecutionTree, costs: Sequence[int], n_parts: int
) -> list[tuple[tuple[int, ...], int]]:
    """Deal the models to parts so that the most expensive part is as cheap as it can be made.

    A unit that models of several parts need runs once in each. Finding the best parts is hard
    (without shared units it is the scheduling of jobs on machines), so sub-trees are dealt, the
    most expensive one first, each to the part that is the cheapest with it (Graham, "Bounds on
    multiprocessing timing anomalies", 1969); then the most expensive sub-tree is split and all is
    dealt anew, as long as there are few, and single models are moved where that helps. Models that
    end at one unit are never parted.

    Args:
        tree: of the models.
        costs: of each unit, none of them negative.
        n_parts: how many parts at most.

    Returns:
        The models of each part, in ascending order, with its cost; parts without a model are left
        out, and the most expensive part comes first.
    """
    waiting = [(-piece.cost, piece.root, piece) for piece in _roots(tree, costs)]
    heapq.heapify(waiting)
    single: list[_Piece] = []
    best = _dealt([item[2] for item in waiting], costs, n_parts)
    while waiting and n_parts > 1 and len(waiting) + len(single) < _PIECES * n_parts:
        for piece in _split(heapq.heappop(waiting)[2], tree, costs):
            if piece.is_whole:
                heapq.heappush(waiting, (-piece.cost, piece.root, piece))
            else:
                single.append(piece)
        dealt = _dealt([*(item[2] for item in waiting), *single], costs, n_parts)
        best = min(best, dealt, key=_slowest)
    parts = [_Uses(tree, costs, part.models) for part in best]
    _move_while_it_helps(parts)
    found = [(part.models, part.cost) for part in parts if part.ends]
    return sorted(found, key=lambda part: (-part[1], part[0]))


def _roots(tree: ExecutionTree, costs: Sequence[int]) -> list[_Piece]:
    return [_whole(root, (), tree, costs) for root in tree.roots]


def _whole(root: int, above: tuple[int, ...], tree: ExecutionTree, costs: Sequence[int]) -> _Piece:
    """Return the sub-tree of a unit as a piece."""
    models: list[int] = []
    cost, left = 0, [root]
    while left:
        unit = tree.units[left.pop()]
        models += unit.models
        cost += costs[unit.index]
        left += unit.children
    return _Piece(tuple(models), above, cost, root, True)


def _split(piece: _Piece, tree: ExecutionTree, costs: Sequence[int]) -> list[_Piece]:
    """Return the sub-trees below a piece's root, and the models that end there."""
    unit = tree.units[piece.root]
    above = (piece.root, *piece.above)
    parts = [_whole(child, above, tree, costs) for child in unit.children]
    if unit.models:
        parts.append(_Piece(unit.models, above, 0, piece.root, False))
    return parts


def _dealt(pieces: Sequence[_Piece], costs: Sequence[int], n_parts: int) -> list[_Bin]:
    """Give each piece to the part that is the cheapest with it."""
    bins = [_Bin() for _ in range(n_parts)]

    def with_it(part: _Bin, piece: _Piece) -> int:
        first = (costs[unit] for unit in piece.above if unit not in part.units)
        return part.cost + piece.cost + sum(first)

    def alone(piece: _Piece) -> int:
        return piece.cost + sum(costs[unit] for unit in piece.above)

    for piece in sorted(pieces, key=lambda p: (-alone(p), p.models)):
        cost, index = min((with_it(part, piece), index) for index, part in enumerate(bins))
        bins[index].cost = cost
        bins[index].models += piece.models
        bins[index].units.update(piece.above)
    return bins


def _slowest(bins: Sequence[_Bin]) -> int:
    return max(part.cost for part in bins)


class _Uses:
    """How many of a part's ends each unit leads to, and what all its units cost together."""

    def __init__(self, tree: ExecutionTree, costs: Sequence[int], models: Sequence[int]) -> None:
        self._tree, self._costs = tree, costs
        self._uses: Counter[int] = Counter()
        self.ends: set[int] = set()
        self.cost = 0
        wanted = set(models)
        for unit in tree.units:
            if wanted.intersection(unit.models):
                self.add(unit.index)

    def gain(self, end: int) -> int:
        """Return what the part costs less without an end."""
        return sum(self._costs[unit] for unit in self._way(end) if self._uses[unit] == 1)

    def price(self, end: int) -> int:
        """Return what the part costs more with another end."""
        return sum(self._costs[unit] for unit in self._way(end) if not self._uses[unit])

    def add(self, end: int) -> None:
        self.cost += self.price(end)
        self.ends.add(end)
        self._uses.update(self._way(end))

    def remove(self, end: int) -> None:
        self.cost -= self.gain(end)
        self.ends.remove(end)
        self._uses.subtract(self._way(end))

    @property
    def models(self) -> tuple[int, ...]:
        return tuple(sorted(m for end in self.ends for m in self._tree.units[end].models))

    def _way(self, end: int) -> Iterator[int]:
        while end != ROOT:
            yield end
            end = self._tree.units[end].parent


def _move_while_it_helps(parts: Sequence[_Uses]) -> None:
    """Move the models of one unit at a time out of the slowest part."""
    # It ends: of the parts' costs, in descending order, the first that changes becomes less.
    while (move := _best_move(parts)) is not None:
        end, source, target = move
        source.remove(end)
        target.add(end)


def _best_move(parts: Sequence[_Uses]) -> tuple[int, _Uses, _Uses] | None:
    """Return which models go from the slowest part to which one, or None: no move helps."""
    slowest = max(parts, key=lambda part: part.cost)
    others = [part for part in parts if part is not slowest]
    best, move = slowest.cost, None
    for end in sorted(slowest.ends):
        left = slowest.cost - slowest.gain(end)
        if left >= best:
            continue
        for target in others:
            both = max(left, target.cost + target.price(end))
            if both < best:
                best, move = both, (end, slowest, target)
    return move
