"""Cutting the execution tree into parts for several workers, so that the slowest ends early."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from bench_core.model_search.planning.prefix_tree import ROOT
from bench_core.model_search.planning.units import ExecutionTree

_FINENESS: Final = 16
"""Sub-trees of less than a sixteenth of a part are not split: they are evened out well enough."""
_LEAST_GAIN: Final = 1000
"""Single models are moved where their part gets cheaper by a thousandth at least: there are few
such moves however many models there are."""


@dataclass(frozen=True)
class _Piece:
    """Models that stay together: a whole sub-tree, or small parts of one."""

    models: tuple[int, ...]
    above: tuple[int, ...]
    """The units that must run first, the nearest one first."""
    cost: int
    """Of its own units, which no other piece needs."""
    root: int
    """The unit that it hangs on."""
    is_whole: bool
    """Whether it is the sub-tree of ``root``, and can be split; else it hangs below that."""


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
    multiprocessing timing anomalies", 1969); then the most expensive sub-tree is split, as long as
    it is more than a small share of a part, and all is dealt anew from time to time; in the end
    single models are moved where that helps. Models that end at one unit are never parted.

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
    small: list[_Piece] = []
    grain = sum(costs) // (_FINENESS * n_parts)
    best, n_dealt = _dealt([item[2] for item in waiting], costs, n_parts), len(waiting)
    while n_parts > 1 and waiting and waiting[0][2].cost > grain:
        for piece in _split(heapq.heappop(waiting)[2], tree, costs, grain):
            if piece.is_whole:
                heapq.heappush(waiting, (-piece.cost, piece.root, piece))
            else:
                small.append(piece)
        n_pieces = len(waiting) + len(small)
        is_last = not waiting or waiting[0][2].cost <= grain
        # Each time anew would take as long again for every piece that there is.
        if is_last or n_pieces > n_dealt + n_dealt // _FINENESS:
            dealt = _dealt([*(item[2] for item in waiting), *small], costs, n_parts)
            best, n_dealt = min(best, dealt, key=_slowest), n_pieces
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


def _split(
    piece: _Piece, tree: ExecutionTree, costs: Sequence[int], grain: int
) -> Iterator[_Piece]:
    """Yield the sub-trees below a piece's root, and the models that end there.

    What is small stays together with what is small beside it, so that a unit from which thousands
    of models branch off gives no more pieces than are needed.
    """
    unit = tree.units[piece.root]
    above = (piece.root, *piece.above)
    models, cost = list(unit.models), 0
    for part in (_whole(child, above, tree, costs) for child in unit.children):
        if part.cost > grain:
            yield part
            continue
        if models and cost + part.cost > grain:
            yield _Piece(tuple(models), above, cost, piece.root, False)
            models, cost = [], 0
        models += part.models
        cost += part.cost
    if models:
        yield _Piece(tuple(models), above, cost, piece.root, False)


def _dealt(pieces: Sequence[_Piece], costs: Sequence[int], n_parts: int) -> list[_Bin]:
    """Give each piece to the part that is the cheapest with it."""
    bins = [_Bin() for _ in range(n_parts)]

    def with_it(part: _Bin, piece: _Piece) -> int:
        cost = part.cost + piece.cost
        for unit in piece.above:
            # Where it is there, so is what stands before it.
            if unit in part.units:
                break
            cost += costs[unit]
        return cost

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
        alone = itertools.takewhile(lambda unit: self._uses[unit] == 1, self._way(end))
        return sum(self._costs[unit] for unit in alone)

    def price(self, end: int) -> int:
        """Return what the part costs more with another end."""
        fresh = itertools.takewhile(lambda unit: not self._uses[unit], self._way(end))
        return sum(self._costs[unit] for unit in fresh)

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
    best, move = slowest.cost - slowest.cost // _LEAST_GAIN, None
    for end in sorted(slowest.ends):
        left = slowest.cost - slowest.gain(end)
        if left >= best:
            continue
        for target in others:
            both = max(left, target.cost + target.price(end))
            if both < best:
                best, move = both, (end, slowest, target)
    return move
