"""One unit of the execution tree over some batches: what the sharing engines have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from torch import nn

from bench_core.data import Inputs
from bench_core.model_search.batches import Batch
from bench_core.model_search.context import Context
from bench_core.model_search.live_results import LiveResults
from bench_core.model_search.planning import Unit
from bench_core.model_search.units_of_work import UnitsOfWork
from bench_core.model_search.work_ahead import WorkAhead


class Modules(Protocol):
    """A unit's blocks on the device, by position."""

    def __getitem__(self, index: int, /) -> nn.Module:
        """Return a block; it may have to be waited for."""


def run_unit(
    context: Context,
    work: UnitsOfWork,
    unit: Unit,
    modules: Modules,
    batches: Sequence[Batch],
    results: LiveResults,
    inputs: Iterator[Inputs],
    ahead: WorkAhead | None = None,
) -> None:
    """Run a unit's blocks over each batch; keep features, and what later units start from.

    Args:
        context: the search.
        work: the tree.
        unit: which of its units.
        modules: its blocks.
        batches: one after the other.
        results: outputs of the units before it; its own are added.
        inputs: the inputs of the batches, asked for only where the unit is the first of a model and
            nothing of it was done before.
        ahead: what was done before, and is gone on from.
    """
    n_blocks = len(work.blocks(unit))
    for batch in batches:
        n_done, output = ahead.take(work, unit, batch) if ahead else (0, None)
        if output is None:
            output = next(inputs) if unit.parent < 0 else results.get(unit.parent, batch)
        for position in range(n_done, n_blocks):
            module = modules[position]
            with context.computing():
                output = module(output)
        context.meter.count("block_executions", n_blocks - n_done)
        context.meter.count("item_blocks", (n_blocks - n_done) * len(batch))
        if unit.models:
            context.put(unit.models, batch, output)
        if unit.children:
            results.keep(unit.index, batch, output)
