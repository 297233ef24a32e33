"""The published proxy: a linear head, trained by plain gradient descent on frozen features."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from bench_core.model_search.proxies.base import (
    Features,
    Proxy,
    Score,
    Task,
    positive,
    positive_whole,
    top_1,
)
from bench_core.model_search.proxies.scaling import standardised

_ALIGNED: Final = 16
"""Floats in 64 bytes: every batch of a padded matrix starts where the BLAS likes it best."""


@dataclass(frozen=True)
class Linear(Proxy):
    """Top-1 accuracy of a linear head on the test items; its loss is the mean of the batch losses.

    Stochastic gradient descent without momentum on the mean cross entropy of each batch, batches in
    their order, nothing shuffled, features as they are: rate and length are those of the
    implementation published with Strassenburg et al., "Alsatian", SIGMOD 2025.

    The head starts as `torch.nn.Linear` does, from a draw that only seed, features' size and number
    of classes decide.

    The gradient is written out, and each head steps by itself. All heads in one batched product are
    no faster on one thread, and on several threads its bits differ from those of a head alone.
    """

    name: ClassVar[str] = "linear"
    learning_rate: float = 0.1
    epochs: int = 100
    standardise: bool = False
    """Bring features to mean 0 and deviation 1 first, so that no head diverges; not published."""

    def __post_init__(self) -> None:
        positive("learning_rate", self.learning_rate)
        positive_whole("epochs", self.epochs)

    def score_one(self, features: Features, task: Task, seed: int) -> Score:
        """Train a head on the train features and test it; a head that diverged has no score."""
        train, test = features.train, features.test
        if self.standardise:
            train, test = standardised(train, test)
        weights = initial_weights(train.shape[1], task.n_classes, seed)
        self._fit(weights, with_bias(train), task)
        value, loss = _tested(weights, with_bias(test), task)
        steps = self.epochs * len(task.train_batches)
        if not (bool(torch.isfinite(weights).all()) and math.isfinite(loss)):
            return Score.none("the head diverged; set standardise, or a lower learning_rate", steps)
        return Score(value, loss, steps)

    def _fit(self, weights: Tensor, items: Tensor, task: Task) -> None:
        """Train ``weights`` in place on ``items`` of shape (n_train, padded dim)."""
        targets = one_hot(task.train_labels, task.n_classes).to(items.dtype)
        batches = [
            (batch, wanted, -self.learning_rate / len(batch))
            for batch, wanted in zip(
                _split(items, task.train_batches), _split(targets, task.train_batches), strict=True
            )
        ]
        transposed = weights.T
        for _ in range(self.epochs):
            for batch, wanted, rate in batches:
                error = torch.softmax(torch.mm(batch, transposed), 1).sub_(wanted)
                weights.addmm_(error.T, batch, alpha=rate)


def with_bias(features: Tensor) -> Tensor:
    """Return features ``(n, dim)`` with a one behind them for the bias, then zeros.

    Rows are padded to whole 64 bytes, so that the place of a batch does not decide how it is read.
    """
    n, dim = features.shape
    padded = torch.zeros(n, _padded(dim))
    padded[:, :dim] = features
    padded[:, dim] = 1
    return padded


def initial_weights(dim: int, n_classes: int, seed: int) -> Tensor:
    """Return a new head ``(n_classes, padded dim)``, its bias in column ``dim``.

    Weights and bias are uniform between plus and minus one over the root of ``dim``.
    """
    digest = hashlib.blake2b(f"linear/{seed}/{dim}/{n_classes}".encode(), digest_size=7).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "big"))
    weights = torch.zeros(n_classes, _padded(dim))
    weights[:, : dim + 1].uniform_(-(dim**-0.5), dim**-0.5, generator=generator)
    return weights


def _padded(dim: int) -> int:
    return -(-(dim + 1) // _ALIGNED) * _ALIGNED


def _split(items: Tensor, sizes: Sequence[int]) -> tuple[Tensor, ...]:
    return torch.split(items, list(sizes))


def _tested(weights: Tensor, items: Tensor, task: Task) -> tuple[float, float]:
    """Return top-1 accuracy and the mean of the batch losses."""
    outputs = [torch.mm(batch, weights.T) for batch in _split(items, task.test_batches)]
    labels = _split(task.test_labels, task.test_batches)
    losses = [float(cross_entropy(o, y)) for o, y in zip(outputs, labels, strict=True)]
    return top_1(torch.cat(outputs), task.test_labels), math.fsum(losses) / len(losses)
