"""Which blocks are in memory when: those that are needed next stay, the others go.

With the order of all uses known in advance the best choice of what goes is known, too: what is
needed last (Belady, "A study of replacement algorithms for a virtual-storage computer", IBM
Systems Journal 5(2), 1966).
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
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
        self.resident = dict.fromkeys(resident)
        self.used = sum(sizes[key] for key in self.resident)
        self.uses: dict[str, list[int]] = defaultdict(list)
        for index, group in enumerate(groups):
            for key in group:
                self.uses[key].append(index)

    def moves(self) -> list[Move]:
        return [self._move(index, group) for index, group in enumerate(self.groups)]

    def _move(self, index: int, group: Sequence[str]) -> Move:
        load = tuple(key for key in dict.fromkeys(group) if key not in self.resident)
        if not load and self.used <= self.budget:
            return Move((), (), 0)
        self.used += sum(self.sizes[key] for key in load)
        evict: tuple[str, ...] = ()
        if self.used > self.budget:
            evict = self._victims(index, group)
        self.resident |= dict.fromkeys(load)
        return Move(load, evict, 1 + max((self._last_use(key, index) for key in evict), default=-1))

    def _victims(self, index: int, group: Sequence[str]) -> tuple[str, ...]:
        """Evict what is needed last, until the budget holds; the group before comes at the end."""
        before = set(self.groups[index - 1]) if index else set()
        candidates = [key for key in self.resident if key not in set(group)]
        candidates.sort(key=lambda key: (key in before, -self._next_use(key, index)))
        evicted = []
        for key in candidates:
            if self.used <= self.budget:
                break
            del self.resident[key]
            self.used -= self.sizes[key]
            evicted.append(key)
        if self.used > self.budget:
            raise BudgetError(
                f"a memory budget of {self.budget:,} bytes for blocks, but {self.used:,} bytes of "
                "them are needed at once"
            )
        return tuple(evicted)

    def _next_use(self, key: str, index: int) -> int:
        uses = self.uses.get(key, [])
        position = bisect.bisect_right(uses, index)
        return uses[position] if position < len(uses) else NEVER

    def _last_use(self, key: str, index: int) -> int:
        uses = self.uses.get(key, [])
        position = bisect.bisect_left(uses, index)
        return uses[position - 1] if position else -1
