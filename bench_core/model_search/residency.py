"""Which blocks are in memory when: those that are needed next stay, the others go.

With the order of all uses known in advance the best choice of what goes is known, too: what is
needed last (Belady, "A study of replacement algorithms for a virtual-storage computer", IBM
Systems Journal 5(2), 1966).
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench_core.model_search.errors import BudgetError

NEVER = 2**62


@dataclass(frozen=True)
class Move:
    """What happens to memory before a group of blocks is used."""

    load: tuple[str, ...]
    evict: tuple[str, ...]
    free_from: int
    """The first group at whose start no evicted block is in use any more."""


def plan_residency(
    groups: Sequence[Sequence[str]],
    sizes: Mapping[str, int],
    budget: int,
    resident: Collection[str] = (),
) -> list[Move]:
    """Plan what is loaded and evicted before each group of blocks is used.

    The blocks of a group are in memory together, and so are those of the group before while there
    is room for both: then the one is loaded while the other is used.

    Args:
        groups: blocks by key, in the order in which they are used.
        sizes: bytes of each block, those in memory at the start included.
        budget: bytes that all blocks in memory may have.
        resident: what is in memory at the start.

    Raises:
        BudgetError: a group alone is larger than the budget.
    """
    return _Planner(groups, sizes, budget, resident).moves()


def loaded_bytes(moves: Sequence[Move], sizes: Mapping[str, int]) -> int:
    """Return the bytes that a plan loads."""
    return sum(sizes[key] for move in moves for key in move.load)


class _Planner:
    def __init__(
        self,
        groups: Sequence[Sequence[str]],
        sizes: Mapping[str, int],
        budget: int,
        resident: Collection[str],
    ) -> None:
        self.groups, self.sizes, self.budget = groups, sizes, budget
        self.place = {key: place for place, key in enumerate(dict.fromkeys(resident))}
        """When each block in memory came, of all that came; the first that came goes first."""
        self.n_came = len(self.place)
        self.used = sum(sizes[key] for key in self.place)
        self.last_use: dict[str, int] = {}
        self.next_uses, first = _next_uses(groups)
        self.heap = [
            (-first.get(key, NEVER), place, key)
            for key, place in self.place.items()
            if first.get(key) != 0
        ]
        """What was not used in the group at hand or the one before: the latest next use first. An
        entry is over when its next use has come; it stays until it gets to the top."""
        heapq.heapify(self.heap)

    def moves(self) -> list[Move]:
        return [self._move(index, group) for index, group in enumerate(self.groups)]

    def _move(self, index: int, group: Sequence[str]) -> Move:
        self._offer(index - 2)
        load = tuple(key for key in dict.fromkeys(group) if key not in self.place)
        move = Move((), (), 0)
        if load or self.used > self.budget:
            self.used += sum(self.sizes[key] for key in load)
            evict = self._victims(index, group) if self.used > self.budget else ()
            last_uses = (self.last_use.get(key, -1) for key in evict)
            move = Move(load, evict, 1 + max(last_uses, default=-1))
        for key in load:
            self.place[key] = self.n_came
            self.n_came += 1
        self.last_use |= dict.fromkeys(group, index)
        return move

    def _offer(self, index: int) -> None:
        """Let the blocks of a group go from here on, but for those that were used since."""
        if index < 0:
            return
        for key, next_use in self.next_uses[index].items():
            if self.last_use[key] == index and key in self.place:
                heapq.heappush(self.heap, (-next_use, self.place[key], key))

    def _victims(self, index: int, group: Sequence[str]) -> tuple[str, ...]:
        """Evict what is needed last, until the budget holds; the group before comes at the end."""
        evicted = []
        for key in self._candidates(index, group):
            del self.place[key]
            self.used -= self.sizes[key]
            evicted.append(key)
            if self.used <= self.budget:
                return tuple(evicted)
        raise BudgetError(
            f"a memory budget of {self.budget:,} bytes for blocks, but {self.used:,} bytes of "
            "them are needed at once"
        )

    def _candidates(self, index: int, group: Sequence[str]) -> Iterator[str]:
        """Yield what may be evicted, in this order; it must be, for it is not offered again."""
        while self.heap:
            next_use, _, key = heapq.heappop(self.heap)
            if -next_use > index:
                yield key
        if index:
            kept = set(group)
            before = [
                (-next_use, self.place[key], key)
                for key, next_use in self.next_uses[index - 1].items()
                if key in self.place and key not in kept
            ]
            yield from (key for _, _, key in sorted(before))


def _next_uses(
    groups: Sequence[Sequence[str]],
) -> tuple[list[dict[str, int]], dict[str, int]]:
    """Return for each group when its blocks are used next after it, and the first use of all."""
    coming: dict[str, int] = {}
    found: list[dict[str, int]] = []
    for index in range(len(groups) - 1, -1, -1):
        found.append({key: coming.get(key, NEVER) for key in groups[index]})
        coming |= dict.fromkeys(groups[index], index)
    return found[::-1], coming
