"""How the shared engine goes about a round: the order, the chunks, and the memory for blocks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench_core.model_search.batches import Batch
from bench_core.model_search.errors import BudgetError
from bench_core.model_search.planning import Schedule, Unit, best_order
from bench_core.model_search.residency import loaded_bytes, plan_residency
from bench_core.model_search.units_of_work import UnitsOfWork
from bench_core.snapshots import BlockRef


@dataclass(frozen=True)
class Plan:
    """One round of the shared engine."""

    work: UnitsOfWork
    schedule: Schedule
    chunks: tuple[tuple[Batch, ...], ...]
    """Each goes through the whole tree before the next one begins."""
    block_budget: int
    """Bytes for blocks."""
    loaded: int
    """Bytes of blocks that will be read."""
    activation_bytes: int
    """Most bytes of intermediate results: what later units start from, one batch in work, and
    the inputs that are made ahead."""

    @property
    def computed(self) -> list[Unit]:
        """The units in their order."""
        steps = self.schedule.steps
        return [self.work.tree.units[step.unit] for step in steps if step.kind == "compute"]

    @property
    def groups(self) -> list[list[BlockRef]]:
        """The blocks that are used together, over all chunks, in order."""
        return [self.work.blocks(unit) for unit in self.computed] * len(self.chunks)

    @property
    def inputs(self) -> list[Batch]:
        """The inputs that are used, over all chunks, in order."""
        n_roots = sum(unit.parent < 0 for unit in self.computed)
        return [batch for chunk in self.chunks for _ in range(n_roots) for batch in chunk]


def plan_round(
    work: UnitsOfWork,
    batches: Sequence[Batch],
    input_bytes: int,
    budget: int,
    resident: Mapping[str, int],
) -> Plan:
    """Choose how many chunks to make: the number with which the fewest bytes are read.

    Few chunks need room for the intermediate results of many items, many chunks read blocks again
    unless these stay in memory. When all blocks fit beside a single batch, each batch is a chunk
    and every block is read once. Of equal ones the plan with the smallest chunks is taken.

    Raises:
        BudgetError: the budget is below the least that is needed; it says how much that is.
    """
    schedule = best_order(work.tree, work.output_bytes, [0] * len(work.tree.units))
    needed = {ref.key: ref.nbytes for unit in work.tree.units for ref in work.blocks(unit)}
    least = sum(nbytes for key, nbytes in needed.items() if key not in resident)
    best: Plan | None = None
    for chunks in _partitions(batches):
        plan = _plan(work, schedule, chunks, input_bytes, budget, resident)
        if plan is not None and (best is None or plan.loaded < best.loaded):
            best = plan
        if best is not None and best.loaded == least:
            break
    if best is None:
        raise _too_little(work, schedule, batches, input_bytes, budget)
    return best


def _partitions(batches: Sequence[Batch]) -> Iterable[list[tuple[Batch, ...]]]:
    """Yield the batches in chunks of 1, 2, 4, … of them."""
    size = 1
    while True:
        yield [tuple(batches[i : i + size]) for i in range(0, len(batches), size)]
        if size >= len(batches):
            return
        size *= 2


def _plan(
    work: UnitsOfWork,
    schedule: Schedule,
    chunks: Sequence[tuple[Batch, ...]],
    input_bytes: int,
    budget: int,
    resident: Mapping[str, int],
) -> Plan | None:
    """Return the plan for these chunks, or None if it does not fit the budget."""
    activations = _activation_bytes(work, schedule, chunks, input_bytes)
    if activations >= budget:
        return None
    plan = Plan(work, schedule, tuple(chunks), budget - activations, 0, activations)
    sizes = dict(resident) | {ref.key: ref.nbytes for group in plan.groups for ref in group}
    keys = [[ref.key for ref in group] for group in plan.groups]
    try:
        moves = plan_residency(keys, sizes, plan.block_budget, resident)
    except BudgetError:
        return None
    loaded = loaded_bytes(moves, sizes)
    return Plan(work, schedule, tuple(chunks), plan.block_budget, loaded, activations)


def _activation_bytes(
    work: UnitsOfWork, schedule: Schedule, chunks: Sequence[tuple[Batch, ...]], input_bytes: int
) -> int:
    most_items = max(sum(len(batch) for batch in chunk) for chunk in chunks)
    batch_items = max(len(batch) for chunk in chunks for batch in chunk)
    n_roots = sum(unit.parent < 0 for unit in work.tree.units)
    # One input in use and one ahead; several roots use a chunk's inputs again, decoded.
    ready = 2 * batch_items + (most_items if n_roots > 1 else 0)
    return schedule.peak * most_items + work.working_bytes * batch_items + input_bytes * ready


def _too_little(
    work: UnitsOfWork,
    schedule: Schedule,
    batches: Sequence[Batch],
    input_bytes: int,
    budget: int,
) -> BudgetError:
    """Say what the least budget is, with these batches and with batches of one item."""
    largest = max(work.block_bytes(unit) for unit in work.tree.units)
    least, single = (
        largest + _activation_bytes(work, schedule, [(batch,)], input_bytes) + 1
        for batch in (max(batches, key=len), Batch("train", 0, 1))
    )
    return BudgetError(
        f"a memory budget of {budget:,} bytes; at least {least:,} are needed with batches of "
        f"{max(map(len, batches))} items, {single:,} with batches of one"
    )
