"""The rounds of a search: features, proxy scores, ranking, and who goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import torch

from bench_core.model_search.batches import Batch, LaterRound, batches_of, cut
from bench_core.model_search.context import Context
from bench_core.model_search.engines import Engine
from bench_core.model_search.halving import Halving, Round, plan_rounds
from bench_core.model_search.loading import UnusableBlockError
from bench_core.model_search.proxies import Features, Proxy, Score
from bench_core.model_search.result import RoundResult, Scored
from bench_core.model_search.round_task import round_task

LOGGER: Final = logging.getLogger(__name__)


@dataclass
class Rounds:
    """Goes through the rounds of one search."""

    context: Context
    engine: Engine
    proxy: Proxy
    halving: Halving | None
    batch_size: int
    seed: int
    skip_unusable: bool
    finished: list[RoundResult] = field(default_factory=list)
    unusable: dict[int, str] = field(default_factory=dict)
    """Models that were left out, with the reason."""
    on_round: Callable[[RoundResult], None] | None = None

    def prepare(self) -> None:
        """Let the engine make what it needs before the rounds; not part of their time.

        Raises:
            UnusableBlockError: a block is damaged or missing, and models are not to be left out.
            SearchError: what the engine refuses.
        """
        self._with_usable(range(len(self.context.candidates)), self.engine.prepare)

    def run(self) -> None:
        """Run all rounds.

        Raises:
            UnusableBlockError: a block is damaged or missing, and models are not to be left out.
            SearchError: what engine, proxy or halving refuse.
        """
        live = list(range(len(self.context.candidates)))
        rounds = plan_rounds(len(live), len(self.context.data.train), self.halving)
        for round_ in rounds:
            later = [LaterRound(r.n_models, self._batches(r)) for r in rounds[round_.index + 1 :]]
            self._extract(live, self._batches(round_), later)
            live = [model for model in live if model not in self.unusable]
            scored = self._ranked(live, round_)
            self.finished.append(RoundResult(round_.index, round_.start, round_.stop, scored))
            if self.on_round:
                self.on_round(self.finished[-1])
            live = sorted(item.model for item in scored[: round_.keep])
            self.context.features.keep_only(self.context.candidates.chains[m] for m in live)

    @property
    def _n_test(self) -> int:
        return len(self.context.data.test)

    def _batches(self, round_: Round) -> tuple[Batch, ...]:
        return tuple(batches_of(round_, self._n_test, self.batch_size))

    def _extract(
        self, live: Sequence[int], batches: Sequence[Batch], later: Sequence[LaterRound]
    ) -> None:
        progress = self.context.progress
        begun = progress.done

        def extract(usable: Sequence[int]) -> None:
            progress.expect(_model_batches(len(usable), batches, later), since=begun)
            self.engine.extract(usable, batches, later)

        self._with_usable(live, extract)

    def _with_usable(self, live: Sequence[int], work: Callable[[Sequence[int]], None]) -> None:
        """Do some work, again without the models that a damaged block belongs to, if told to."""
        while True:
            usable = [model for model in live if model not in self.unusable]
            try:
                return work(usable)
            except UnusableBlockError as error:
                lost = set(self.context.candidates.having(error.key)).intersection(usable)
                if not self.skip_unusable or not lost or len(lost) == len(usable):
                    raise
                LOGGER.warning("%s; the search goes on without %d models", error, len(lost))
                self.unusable |= dict.fromkeys(lost, str(error))

    def _ranked(self, live: Sequence[int], round_: Round) -> tuple[Scored, ...]:
        """Score the models, those that are the same model once, and rank them."""
        first: dict[tuple[str, ...], int] = {}
        for model in live:
            first.setdefault(self._identity(model), model)
        scores = dict(zip(first, self._scores(list(first.values()), round_), strict=True))
        candidates = self.context.candidates
        scored = [
            Scored(model, candidates.name(model), score.value, score.loss, score.note)
            for model in live
            for score in [scores[self._identity(model)]]
        ]
        return tuple(sorted(scored, key=lambda item: item.rank_key))

    def _identity(self, model: int) -> tuple[str, ...]:
        """Return what decides a model's score: its blocks, and its head if the proxy wants it."""
        candidates = self.context.candidates
        head = candidates.snapshots[model].head if self.proxy.needs_source else None
        return (candidates.chains[model], head.key) if head else (candidates.chains[model],)

    def _scores(self, models: Sequence[int], round_: Round) -> list[Score]:
        train = self._train_batches(round_)
        test = cut("test", 0, self._n_test, self.batch_size)
        meter, task = self.context.meter, round_task(self.context.data, train, test)
        groups = [list(models)] if self.engine.scores_together else [[model] for model in models]
        scores: list[Score] = []
        with meter.phase("proxy_score"):
            for group in groups:
                features = [self._features(model, train, test) for model in group]
                scores += self.proxy.score(features, task, self.seed)
                meter.count("proxy_fits", len(group))
        meter.count("proxy_steps", sum(score.steps for score in scores))
        return scores

    def _train_batches(self, round_: Round) -> list[Batch]:
        """Return the training batches of this round and all before, with the borders they had."""
        ranges = [(done.start, done.stop) for done in self.finished] + [(round_.start, round_.stop)]
        return [batch for range_ in ranges for batch in cut("train", *range_, self.batch_size)]

    def _features(self, model: int, train: Sequence[Batch], test: Sequence[Batch]) -> Features:
        chain = self.context.candidates.chains[model]
        found = [self.context.features.gather(chain, batches) for batches in (train, test)]
        if not self.proxy.needs_source:
            return Features(*found)
        weight, bias = self.context.head(model)
        return Features(*found, *(torch.addmm(bias, f, weight.T) for f in found))


def _model_batches(n_models: int, batches: Sequence[Batch], later: Sequence[LaterRound]) -> int:
    """Return how many features of a model and a batch are to come, with so many models left."""
    to_come = sum(min(n_models, round_.n_models) * len(round_.batches) for round_ in later)
    return n_models * len(batches) + to_come
