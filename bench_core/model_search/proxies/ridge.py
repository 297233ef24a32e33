"""Ridge regression on the classes as a proxy: a linear head in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from bench_core.model_search.proxies.base import Features, Proxy, Score, Task, positive, top_1
from bench_core.model_search.proxies.spectrum import Spectrum, centred

_TRIED: Final = tuple(10.0**power for power in range(-6, 4))
"""Penalties that are tried, in units of the mean squared singular value."""


@dataclass(frozen=True)
class Ridge(Proxy):
    """Top-1 accuracy on the test items of a least-squares fit of one-hot labels.

    The penalty on the squared weights is chosen by generalised cross validation on the train items
    (Golub, Heath and Wahba, "Generalized cross-validation as a method for choosing a good ridge
    parameter", Technometrics 1979), the intercept is not penalised. Its loss is the mean squared
    error on the one-hot labels of the test items, summed over classes.
    """

    name: ClassVar[str] = "ridge"
    penalty: float | None = None
    """Of the squared weights; None to choose it by generalised cross validation."""

    def __post_init__(self) -> None:
        if self.penalty is not None:
            positive("penalty", self.penalty)

    def score_one(self, features: Features, task: Task, seed: int) -> Score:
        """Fit the train features and test."""
        targets = one_hot(task.train_labels, task.n_classes).double()
        spectrum, shares = Spectrum.of(centred(features.train)), targets.mean(0)
        fitted = spectrum.along(targets - shares)
        penalty = self.penalty
        if penalty is None:
            penalty = _chosen_penalty(spectrum.squares, fitted, targets - shares)
        weights = spectrum.weights(fitted / (spectrum.squares + penalty)[:, None])
        outputs = (features.test.double() - features.train.double().mean(0)) @ weights + shares
        wanted = one_hot(task.test_labels, task.n_classes)
        loss = float((outputs - wanted).square().sum(1).mean())
        return Score(top_1(outputs, task.test_labels), loss, 1)


def _chosen_penalty(squares: Tensor, fitted: Tensor, targets: Tensor) -> float:
    """Return the penalty of the least generalised cross-validation error, the larger on a tie.

    Args:
        squares: ``(rank,)`` squared singular values.
        fitted: ``(rank, classes)`` targets along each direction.
        targets: ``(n, classes)``, centred.
    """
    if not len(squares):
        return 1.0
    along = fitted.square().sum(1)
    outside = (targets.square().sum() - along.sum()).clamp_min(0)
    tried = torch.tensor(_TRIED[::-1], dtype=torch.float64) * squares.mean()
    left_over = tried[:, None] / (squares + tried[:, None])
    residual = (left_over.square() * along).sum(1) + outside
    # The intercept takes one degree of freedom more.
    free = left_over.sum(1) + (len(targets) - 1 - len(squares))
    return float(tried[(residual / free.square()).argmin()])
