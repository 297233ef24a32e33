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
from bench_core.model_search.proxies import Features, Proxy, Score, Task
from bench_core.model_search.result import RoundResult, Scored

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
        """Extract, again without the models that a damaged block belongs to, if told to."""
        while True:
            usable = [model for model in live if model not in self.unusable]
            try:
                return self.engine.extract(usable, batches, later)
            except UnusableBlockError as error:
                having = self.context.candidates.having(error.key)
                if not self.skip_unusable or len(self.unusable) + len(having) >= len(live):
                    raise
                LOGGER.warning("%s; the search goes on without %d models", error, len(having))
                self.unusable |= dict.fromkeys(having, str(error))

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
        data, meter = self.context.data, self.context.meter
        task = Task(
            train_labels=torch.from_numpy(data.train.labels[: round_.stop]),
            test_labels=torch.from_numpy(data.test.labels),
            n_classes=len(data.train.classes),
            train_batches=tuple(map(len, train)),
            test_batches=tuple(map(len, test)),
        )
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
