"""Which blocks go, by sorting all that are in memory each time: slow, and easy to see through."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from bench_core.model_search.errors import BudgetError
from bench_core.model_search.residency import NEVER, Move


def plain_residency(
    groups: Sequence[Sequence[str]],
    sizes: Mapping[str, int],
    budget: int,
    resident: Collection[str] = (),
) -> list[Move]:
    """Return what `plan_residency` is to return, move by move and in the same order."""
    # In the order in which they came: of those that are needed equally late the first goes.
    there = dict.fromkeys(resident)
    moves = []
    for index, group in enumerate(groups):
        load = [key for key in dict.fromkeys(group) if key not in there]
        before = groups[index - 1] if index else ()
        waiting = [key for key in there if key not in group]
        waiting.sort(key=lambda k: (k in before, -next_use(groups, k, index)))
        used = sum(sizes[key] for key in [*there, *load])
        evict: list[str] = []
        while used > budget:
            if not waiting:
                raise BudgetError(
                    f"a memory budget of {budget:,} bytes for blocks, but {used:,} bytes of them "
                    "are needed at once"
                )
            evict.append(waiting.pop(0))
            del there[evict[-1]]
            used -= sizes[evict[-1]]
        there |= dict.fromkeys(load)
        free_from = max((1 + last_use(groups, key, index) for key in evict), default=0)
        moves.append(Move(tuple(load), tuple(evict), free_from))
    return moves


def next_use(groups: Sequence[Sequence[str]], key: str, index: int) -> int:
    """Return the first group after this one that has a block, or `NEVER`."""
    return next((i for i in range(index + 1, len(groups)) if key in groups[i]), NEVER)


def last_use(groups: Sequence[Sequence[str]], key: str, index: int) -> int:
    """Return the last group before this one that has a block, or -1."""
    return next((i for i in range(index - 1, -1, -1) if key in groups[i]), -1)
