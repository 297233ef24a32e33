"""The shared engine on several workers: each takes a part of the tree, or of the batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch

from bench_core.model_search.batches import Batch, LaterRound
from bench_core.model_search.context import Context
from bench_core.model_search.engines.base import Engine
from bench_core.model_search.engines.ray_crew import RayCrew
from bench_core.model_search.engines.search_worker import Found, Setup
from bench_core.model_search.environment import environment
from bench_core.model_search.errors import SearchError
from bench_core.model_search.meter import Work
from bench_core.model_search.partition import Part, partition
from bench_core.model_search.planning import ExecutionTree, PrefixTree, borders_of
from bench_core.model_search.units_of_work import UnitsOfWork


class Distributed(Engine):
    """Sub-trees go to Ray workers, features come back, and the scores are computed here.

    Features are the same bit for bit for any number of workers: the batches are the same, and each
    worker gives torch as many threads as it had here when the search began. A worker on a machine
    that would compute other bits is refused. Seconds and counts are those of all workers together;
    peaks are those of the worker with the highest. What a lost worker had not sent is computed
    again, and counted once.
    """

    name = "distributed"
    is_local = False
    shares = True
    scores_together = True

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._prefixes = PrefixTree.of(context.candidates.keys)
        self._borders = borders_of(self._prefixes)
        self._crew: RayCrew | None = None
        self._held: list[frozenset[str]] = [frozenset()] * context.workers

    def prepare(self, live: Sequence[int]) -> None:
        """Start the workers and wait for them.

        Raises:
            SearchError: there is no room for them, the data cannot be sent, or their machine
                computes other bits.
            MissingExtraError: Ray is not installed.
        """
        context = self.context
        here = environment(str(context.device))
        data = context.data if context.recipe is None else context.recipe
        self._crew = RayCrew(self._setup(), data, context.workers, context.ray_address)
        for found in self._crew.environments():
            if found != here:
                raise SearchError(
                    "a worker's torch, processor or threads differ from those here, and so would "
                    "features; let all workers run on machines like this one"
                )

    def extract(
        self, live: Sequence[int], batches: Sequence[Batch], later: Sequence[LaterRound] = ()
    ) -> None:
        """Let the workers run the live models over all batches whose features are not there yet."""
        for models, part in self.context.wanted(live, batches).items():
            self._run(self._parts(models, part))

    def close(self) -> None:
        """End the workers."""
        if self._crew is not None:
            self._crew.close()
            self._crew = None

    def _setup(self) -> Setup:
        context, data = self.context, self.context.data
        digests = None if context.recipe is None else (data.train.digest, data.test.digest)
        return Setup(
            store=context.loader.store.folder.resolve(),
            candidates=context.candidates,
            verify=context.loader.verify,
            policy=context.loader.policy,
            device=str(context.device),
            budget=context.budget,
            largest_batch=context.largest_batch,
            n_threads=torch.get_num_threads(),
            digests=digests,
        )

    def _parts(self, models: Sequence[int], batches: Sequence[Batch]) -> list[tuple[int, Part]]:
        """Cut the work, and give each part to the worker that has most of its blocks."""
        with self.context.meter.phase("planning"):
            tree = ExecutionTree.of(self._prefixes.of_models(models), self._borders)
            work = UnitsOfWork(tree, self.context.candidates)
            return self._assigned(partition(work, batches, self.context.workers))

    def _assigned(self, parts: Sequence[Part]) -> list[tuple[int, Part]]:
        """Give each part to the worker, of those left, that has most of its blocks."""
        sizes = {key: ref.nbytes for key, ref in self.context.candidates.blocks.items()}
        free = list(range(len(self._held)))
        assigned = []
        for part in parts:
            keys = {key for model in part.models for key in self.context.candidates.keys[model]}
            had = [sum(sizes[key] for key in keys & self._held[worker]) for worker in free]
            worker = free.pop(had.index(max(had)))
            self._held[worker] = frozenset(keys)
            assigned.append((worker, part))
        return assigned

    def _run(self, parts: Sequence[tuple[int, Part]]) -> None:
        """Take in what the workers send, as it comes."""
        assert self._crew is not None, "prepare comes first"
        for part, sent in self._crew.extract(parts):
            if isinstance(sent, Work):
                self.context.meter.merge(sent)
            else:
                self._keep(part, sent)

    def _keep(self, part: Part, found: Found) -> None:
        """Keep the features of a batch, in the journal too if there is one."""
        chains = self.context.candidates.chains
        models = Counter(chains[model] for model in part.models)
        self.context.features.put(found)
        self.context.progress.advance(sum(models[chain] for chain, _, _ in found))
