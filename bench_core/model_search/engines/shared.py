"""Our engine: each distinct block runs once a batch, and is read once if it fits, ahead of its use.

It goes on from Strassenburg et al., "Alsatian", SIGMOD 2025, with the same features bit for bit:
one pass for test and training items; blocks and inputs are made ready while others are computed
with, and where blocks have to be waited for later rounds are worked on; blocks stay in memory by
their planned next use; items are decoded once; the order needs the least memory that we know to
find; only the features are kept at the leaves.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from bench_core.model_search.batches import Batch, LaterRound
from bench_core.model_search.block_cache import BlockCache
from bench_core.model_search.context import Context
from bench_core.model_search.engines.base import Engine
from bench_core.model_search.engines.run_unit import run_unit
from bench_core.model_search.errors import BudgetError
from bench_core.model_search.inputs import InputFeeder
from bench_core.model_search.live_results import LiveResults
from bench_core.model_search.plan import Plan, plan_round
from bench_core.model_search.planning import ExecutionTree, PrefixTree, borders_of
from bench_core.model_search.units_of_work import UnitsOfWork
from bench_core.model_search.work_ahead import WorkAhead


class Shared(Engine):
    """Blocks in memory across chunks and rounds under a budget, batches streamed when all fit."""

    name = "shared"
    shares = True
    scores_together = True

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._prefixes = PrefixTree.of(context.candidates.keys)
        # Kept in later rounds, so that none needs more memory at once than the first.
        self._borders = borders_of(self._prefixes)
        self._cache = BlockCache(context.loader.tuned().load, context.meter)
        self._feeder = InputFeeder(context.data, context.device, context.meter, context.budget)
        self._ahead = WorkAhead(
            context, self._feeder, self._prefixes, self._borders, self._cache.get
        )

    def extract(
        self, live: Sequence[int], batches: Sequence[Batch], later: Sequence[LaterRound] = ()
    ) -> None:
        """Run the live models' tree over all batches whose features are not there yet."""
        for _ in self.extracted(live, batches, later):
            pass

    def extracted(
        self, live: Sequence[int], batches: Sequence[Batch], later: Sequence[LaterRound] = ()
    ) -> Iterator[Batch]:
        """Do what `extract` does, and yield each batch when its chunk's features are there.

        They come in the order of ``batches`` where no model has features of any of them yet.
        """
        keys = self.context.candidates.keys
        self._cache.keep_only(frozenset(key for model in live for key in keys[model]))
        for models, part in self.context.wanted(live, batches).items():
            with self.context.meter.phase("planning"):
                plan = self._plan(models, part)
                # Of which a journal has some of this round it may have some of later ones, too.
                is_sure = plan.loaded and len(models) == len(live)
                self._ahead.foresee(live, later if is_sure else (), plan.spare_bytes)
            yield from self._run(plan)

    def close(self) -> None:
        """Forget the blocks, and what was done of rounds that did not come."""
        self._ahead.clear()
        self._cache.clear()

    def _plan(self, models: Sequence[int], batches: Sequence[Batch]) -> Plan:
        """Plan with the memory that is left beside what was done ahead; without it if need be."""
        tree = ExecutionTree.of(self._prefixes.of_models(models), self._borders)
        try:
            return self._plan_beside(self._ahead.nbytes, tree, batches)
        except BudgetError:
            self._ahead.clear()
            return self._plan_beside(0, tree, batches)

    def _plan_beside(self, taken: int, tree: ExecutionTree, batches: Sequence[Batch]) -> Plan:
        context = self.context
        return plan_round(
            UnitsOfWork(tree, context.candidates),
            batches,
            context.candidates.input_bytes,
            context.largest_batch,
            context.budget - taken,
            self._cache.resident,
        )

    def _run(self, plan: Plan) -> Iterator[Batch]:
        context, work, ahead = self.context, plan.work, self._ahead
        wanted = [batch for unit, batch in plan.inputs if not ahead.has_begun(work, unit, batch)]
        blocks = self._cache.supply(plan.groups, plan.block_budget, ahead.step)
        inputs = self._feeder.supply(wanted)
        with contextlib.closing(blocks), contextlib.closing(inputs):
            for chunk in plan.chunks:
                results = LiveResults(context.meter)
                for step in plan.schedule.steps:
                    if step.kind == "release":
                        results.release(step.unit, chunk)
                    else:
                        unit = work.tree.units[step.unit]
                        run_unit(context, work, unit, next(blocks), chunk, results, inputs, ahead)
                ahead.forget(chunk)
                yield from chunk
