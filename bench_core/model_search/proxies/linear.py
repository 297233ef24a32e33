"""The published proxy: a linear head, trained by plain gradient descent on frozen features."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from bench_core.model_search.proxies.base import (
    Features,
    Proxy,
    Score,
    Task,
    positive,
    positive_whole,
    top_1,
)
from bench_core.model_search.proxies.descent import (
    Batch,
    batches_of,
    descend,
    heads_at_once,
    in_lines,
    with_bias,
)
from bench_core.model_search.proxies.scaling import standardised


@dataclass(frozen=True)
class Linear(Proxy):
    """Top-1 accuracy of a linear head on the test items; its loss is the mean of the batch losses.

    Stochastic gradient descent without momentum on the mean cross entropy of each batch, batches in
    their order, nothing shuffled, features as they are: rate and length are those of the
    implementation published with Strassenburg et al., "Alsatian", SIGMOD 2025.

    The head starts as `torch.nn.Linear` does, from a draw that only seed, features' size and number
    of classes decide.

    The heads of a round are fitted together, each to the bit as it would be alone: see
    `descent.descend`.
    """

    name: ClassVar[str] = "linear"
    learning_rate: float = 0.1
    epochs: int = 100
    standardise: bool = False
    """Bring features to mean 0 and deviation 1 first, so that no head diverges; not published."""

    def __post_init__(self) -> None:
        positive("learning_rate", self.learning_rate)
        positive_whole("epochs", self.epochs)

    def score_all(self, features: Sequence[Features], task: Task, seed: int) -> list[Score]:
        """Train a head on each model's train features and test it."""
        batches = batches_of(task.train_labels, task.train_batches, task.n_classes)
        of_dim: dict[int, list[int]] = {}
        for model, one in enumerate(features):
            of_dim.setdefault(one.train.shape[1], []).append(model)
        scores: dict[int, Score] = {}
        for dim, models in of_dim.items():
            at_once = heads_at_once(dim, batches)
            for start in range(0, len(models), at_once):
                group = models[start : start + at_once]
                found = self._score_stack([features[model] for model in group], task, batches, seed)
                scores |= zip(group, found, strict=True)
        return [scores[model] for model in range(len(features))]

    def score_one(self, features: Features, task: Task, seed: int) -> Score:
        """Train a head on the train features and test it; a head that diverged has no score."""
        return self.score_all([features], task, seed)[0]

    def _score_stack(
        self, features: Sequence[Features], task: Task, batches: Sequence[Batch], seed: int
    ) -> list[Score]:
        """Score models whose features have the same size."""
        parts = [(one.train, one.test) for one in features]
        if self.standardise:
            parts = [standardised(*part) for part in parts]
        start = initial_weights(features[0].train.shape[1], task.n_classes, seed)
        weights = start.repeat(len(features), 1, 1)
        items = with_bias([train for train, _ in parts], batches)
        descend(weights, items, batches, self.learning_rate, self.epochs)
        shares = _shares(task.test_batches)
        return [
            self._tested(head, test.float(), task, shares)
            for head, (_, test) in zip(weights, parts, strict=True)
        ]

    def _tested(self, weights: Tensor, test: Tensor, task: Task, shares: Tensor) -> Score:
        """Return how a head ``(n_classes, padded dim)`` does on items ``(n_test, dim)``."""
        dim, steps = test.shape[1], self.epochs * len(task.train_batches)
        outputs = torch.addmm(weights[:, dim], test, weights[:, :dim].T)
        losses = cross_entropy(outputs, task.test_labels, reduction="none").double()
        loss = float(losses @ shares)
        if not (bool(torch.isfinite(weights).all()) and math.isfinite(loss)):
            return Score.none("the head diverged; set standardise, or a lower learning_rate", steps)
        return Score(top_1(outputs, task.test_labels), loss, steps)


def initial_weights(dim: int, n_classes: int, seed: int) -> Tensor:
    """Return a new head ``(n_classes, padded dim)``, its bias in column ``dim``.

    Weights and bias are uniform between plus and minus one over the root of ``dim``.
    """
    digest = hashlib.blake2b(f"linear/{seed}/{dim}/{n_classes}".encode(), digest_size=7).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "big"))
    weights = torch.zeros(n_classes, in_lines(dim + 1))
    weights[:, : dim + 1].uniform_(-(dim**-0.5), dim**-0.5, generator=generator)
    return weights


def _shares(batches: Sequence[int]) -> Tensor:
    """Return what each item's loss counts in the mean of the batch losses, ``(n,)`` float64."""
    sizes = torch.tensor(batches)
    return (1 / (len(sizes) * sizes.double())).repeat_interleave(sizes)
