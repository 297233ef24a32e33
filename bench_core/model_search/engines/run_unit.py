"""One unit of the execution tree over some batches: what the sharing engines have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from bench_core.data import Inputs
from bench_core.model_search.batches import Batch
from bench_core.model_search.context import Context
from bench_core.model_search.live_results import LiveResults
from bench_core.model_search.planning import Unit
from bench_core.model_search.units_of_work import UnitsOfWork
from bench_core.models.chains import run_blocks


def run_unit(
    context: Context,
    work: UnitsOfWork,
    unit: Unit,
    modules: Sequence[nn.Module],
    batches: Sequence[Batch],
    results: LiveResults,
    inputs: Iterator[Inputs],
) -> None:
    """Run a unit's blocks over each batch; keep features, and what later units start from.

    Args:
        context: the search.
        work: the tree.
        unit: which of its units.
        modules: its blocks, on the device.
        batches: one after the other.
        results: outputs of the units before it; its own are added.
        inputs: the inputs of the batches, asked for only where the unit is the first of a model.
    """
    for batch in batches:
        given = next(inputs) if unit.parent < 0 else results.get(unit.parent, batch)
        with context.meter.phase("inference"), torch.inference_mode():
            output = run_blocks(modules, given)
        work.count(context.meter, unit, batch)
        if unit.models:
            context.put(unit.models, batch, output)
        if unit.children:
            results.keep(unit.index, batch, output)
