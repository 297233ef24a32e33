"""How the shared engine goes about a round: the order, the chunks, and the memory for blocks."""

from __future__ import annotations

import functools
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
    spare_bytes: int
    """What the budget leaves for results of later rounds, with one batch of these in work; below
    0 where there is no room."""

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
    def inputs(self) -> list[tuple[Unit, Batch]]:
        """What units start from the input, over all chunks, in order."""
        roots = [unit for unit in self.computed if unit.parent < 0]
        return [(unit, batch) for chunk in self.chunks for unit in roots for batch in chunk]


def plan_round(
    work: UnitsOfWork,
    batches: Sequence[Batch],
    input_bytes: int,
    largest_batch: int,
    budget: int,
    resident: Mapping[str, int],
) -> Plan:
    """Choose how many chunks to make: the number with which the fewest bytes are read.

    Few chunks need room for the intermediate results of many items, many chunks read blocks again
    unless these stay in memory. Of equal plans the one with the largest chunks is taken where
    blocks are read, so that there is much to compute meanwhile, and the one with the smallest where
    all are in memory.

    Args:
        work: the tree.
        batches: what goes through it.
        input_bytes: of an item as a model takes it.
        largest_batch: items of the largest batch of all rounds: room is kept for it, so that a
            budget that is enough for the first round is enough for all.
        budget: bytes for blocks and intermediate results.
        resident: blocks in memory, by key, with their bytes.

    Raises:
        BudgetError: the budget is below the least that is needed; it says how much that is.
    """
    schedule = best_order(work.tree, work.output_bytes, [0] * len(work.tree.units))
    room = _Room(work, schedule, input_bytes, largest_batch)
    blocks = _Blocks.of(work, schedule, resident)
    partitions = list(_partitions(batches))
    best: Plan | None = None
    for chunks in reversed(partitions) if blocks.least else partitions:
        best = _plan(room, blocks, chunks, budget, best) or best
        if best is not None and best.loaded == blocks.least:
            break
    if best is None:
        raise room.too_little(budget)
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
    room: _Room,
    blocks: _Blocks,
    chunks: Sequence[tuple[Batch, ...]],
    budget: int,
    best: Plan | None,
) -> Plan | None:
    """Return the plan for these chunks, or None if it does not fit the budget or is no better."""
    activations = room.activation_bytes(max(sum(map(len, chunk)) for chunk in chunks))
    for_blocks = budget - activations
    if for_blocks < blocks.largest:
        return None
    # Simulating every way takes as long again for every chunk: hours for many models.
    if best is not None and blocks.bound(len(chunks), for_blocks) >= best.loaded:
        return None
    loaded = blocks.loaded(len(chunks), for_blocks)
    if best is not None and loaded >= best.loaded:
        return None
    spare = for_blocks - blocks.total - room.work_bytes
    return Plan(room.work, room.schedule, tuple(chunks), for_blocks, loaded, activations, spare)


@dataclass(frozen=True)
class _Blocks:
    """The blocks that a walk through the tree uses, and those in memory before it."""

    groups: list[list[str]]
    """Used together, by key, in order."""
    sizes: Mapping[str, int]
    """Bytes of each block, those in memory included."""
    resident: Mapping[str, int]
    needed: int
    """Bytes of all that the walk uses."""
    least: int
    """Bytes of what is not in memory yet."""
    largest: int
    """Bytes of the largest group."""

    @classmethod
    def of(cls, work: UnitsOfWork, schedule: Schedule, resident: Mapping[str, int]) -> _Blocks:
        units = [work.tree.units[step.unit] for step in schedule.steps if step.kind == "compute"]
        needed = {
            key: ref.nbytes
            for unit in units
            for key, ref in zip(work.keys(unit), work.blocks(unit), strict=True)
        }
        return cls(
            groups=[work.keys(unit) for unit in units],
            sizes={**resident, **needed},
            resident=resident,
            needed=sum(needed.values()),
            least=sum(nbytes for key, nbytes in needed.items() if key not in resident),
            largest=max(work.block_bytes(unit) for unit in units),
        )

    @functools.cached_property
    def total(self) -> int:
        """Bytes of all blocks, those in memory included."""
        return sum(self.sizes.values())

    def bound(self, n_walks: int, budget: int) -> int:
        """Return the bytes that so many walks cannot do without.

        The first reads what is not in memory; each other one finds no more than the budget.
        """
        return self.least + (n_walks - 1) * max(0, self.needed - budget)

    def loaded(self, n_walks: int, budget: int) -> int:
        """Return the bytes that so many walks read."""
        if self.total <= budget:
            return self.least
        moves = plan_residency(self.groups * n_walks, self.sizes, budget, self.resident)
        return loaded_bytes(moves, self.sizes)


@dataclass(frozen=True)
class _Room:
    """What a walk through the tree needs beside the blocks."""

    work: UnitsOfWork
    schedule: Schedule
    input_bytes: int
    largest_batch: int

    def activation_bytes(self, chunk_items: int, batch_items: int | None = None) -> int:
        """Return the bytes for a chunk: what units start from, one batch in work, and inputs.

        No more for a part of the models, so that a budget that is enough once is enough always.
        """
        batch = self.largest_batch if batch_items is None else batch_items
        items = max(chunk_items, batch)
        # One input in use and one ahead; several roots use a chunk's inputs again, decoded.
        ready = 2 * batch + (items if len(self.work.tree.roots) > 1 else 0)
        return (
            self.schedule.peak * items + self.work.working_bytes * batch + self.input_bytes * ready
        )

    @property
    def work_bytes(self) -> int:
        """Bytes for a batch in work."""
        return (self.work.working_bytes + self.input_bytes) * self.largest_batch

    def too_little(self, budget: int) -> BudgetError:
        """Say what the least budget is, with these batches and with batches of one item."""
        largest = max(self.work.block_bytes(unit) for unit in self.work.tree.units)
        batches, single = (largest + self.activation_bytes(0, n) for n in (self.largest_batch, 1))
        return BudgetError(
            f"a memory budget of {budget:,} bytes; at least {batches:,} are needed with batches of "
            f"{self.largest_batch} items, {single:,} with batches of one"
        )
