"""Alsatian as published: shared blocks run once a chunk, in the DFS+ order, nothing at once.

Strassenburg et al., "Alsatian", SIGMOD 2025, sections 3 and 4.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from bench_core.model_search.batches import Batch, LaterRound
from bench_core.model_search.context import Context
from bench_core.model_search.engines.base import Engine
from bench_core.model_search.engines.run_unit import run_unit
from bench_core.model_search.engines.whole_models import decoded_anew
from bench_core.model_search.live_results import LiveResults
from bench_core.model_search.planning import ExecutionTree, PrefixTree, Schedule, Unit
from bench_core.model_search.published_plan import published_plan
from bench_core.model_search.units_of_work import UnitsOfWork


class Alsatian(Engine):
    """One pass over the tree for each chunk, blocks read again in every one.

    As published: test chunks come first, in passes of their own; a unit's blocks are read when its
    turn comes; inputs are decoded anew for each base model; intermediate results of a whole chunk
    are kept in host memory under the budget. Unlike published: blocks come from the store of
    distinct blocks, not from pickled modules, and what is kept at a leaf is the features alone.
    """

    name = "alsatian"
    shares = True
    policy = "pread"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._prefixes = PrefixTree.of(context.candidates.keys)

    def extract(
        self, live: Sequence[int], batches: Sequence[Batch], later: Sequence[LaterRound] = ()
    ) -> None:
        """Run the live models' tree over the test chunks, then over the training chunks."""
        for models, part in self.context.wanted(live, batches).items():
            self._walk(models, part)

    def _walk(self, models: Sequence[int], batches: Sequence[Batch]) -> None:
        with self.context.meter.phase("planning"):
            tree = ExecutionTree.of(self._prefixes.of_models(models))
            work = UnitsOfWork(tree, self.context.candidates)
            plan = published_plan(work, batches, self.context.budget)
        for chunk in plan.chunks:
            self._pass(work, plan.schedule, chunk)

    def _pass(self, work: UnitsOfWork, schedule: Schedule, batches: Sequence[Batch]) -> None:
        """Walk the tree once with a chunk."""
        results = LiveResults(self.context.meter)
        for step in schedule.steps:
            if step.kind == "release":
                results.release(step.unit, batches)
            else:
                unit = work.tree.units[step.unit]
                modules = self._load(work, unit)
                inputs = decoded_anew(self.context, batches) if unit.parent < 0 else iter(())
                run_unit(self.context, work, unit, modules, batches, results, inputs)

    def _load(self, work: UnitsOfWork, unit: Unit) -> list[nn.Module]:
        with self.context.meter.phase("prepare_model"):
            return [self.context.loader.load(ref) for ref in work.blocks(unit)]
