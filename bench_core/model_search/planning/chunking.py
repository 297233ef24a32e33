"""How many batches go through the tree at once under a memory budget."""

from __future__ import annotations

from collections.abc import Sequence

from bench_core.model_search.errors import BudgetError


def chunks(batch_sizes: Sequence[int], peak_per_item: int, budget: int) -> list[range]:
    """Return ranges of neighbouring batches whose items fit the budget together, few and large.

    A chunk takes whole batches: other borders would give other bits.

    Args:
        batch_sizes: items of each batch.
        peak_per_item: bytes an item that are alive at once.
        budget: bytes.

    Raises:
        BudgetError: not even one batch fits.
    """
    largest = max(batch_sizes, default=0)
    if largest * peak_per_item > budget:
        raise BudgetError(
            f"a memory budget of {budget:,} bytes; at least {largest * peak_per_item:,} are needed "
            f"with batches of {largest} items, {peak_per_item:,} with batches of one"
        )
    found, start, items = [], 0, 0
    for index, size in enumerate(batch_sizes):
        if index > start and (items + size) * peak_per_item > budget:
            found.append(range(start, index))
            start, items = index, 0
        items += size
    if batch_sizes:
        found.append(range(start, len(batch_sizes)))
    return found
