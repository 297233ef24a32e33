"""LogME: the evidence for labels as a linear function of features, weights integrated out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Final

import torch
from torch import Tensor

from bench_core.model_search.proxies.base import Features, Proxy, Score, Task, positive_whole
from bench_core.model_search.proxies.spectrum import Spectrum, indicators

_CONVERGED: Final = 1e-9
_EXTREME: Final = 1e12
"""How far the ratio of the precisions may go from the largest squared singular value: it falls to 0
for labels that features explain entirely, and grows without end where they explain nothing."""


@dataclass(frozen=True)
class LogME(Proxy):
    """Logarithm of the maximum evidence an item, the mean over the classes that occur.

    You, Liu, Wang and Long, "LogME: Practical assessment of pre-trained models for transfer
    learning", ICML 2021, section 4 and algorithm 1. Each class's indicator y is a linear function
    of the features F, ``(n, dim)``, with Gaussian weights (precision alpha) and noise (precision
    beta). With A = alpha + beta F'F and m = beta A^-1 F'y, the weights' mean, the evidence is::

        log p(y | F, alpha, beta) = n/2 log beta + dim/2 log alpha - n/2 log 2 pi
            - beta/2 |Fm - y|^2 - alpha/2 m'm - 1/2 log det A

    Both precisions start from 1 and are brought to a fixed point of alpha = gamma / m'm,
    beta = (n - gamma) / |Fm - y|^2, with gamma = tr(beta A^-1 F'F).

    As in You et al., "Ranking and tuning pre-trained models", JMLR 2022, the fixed point is sought
    for the ratio alpha / beta alone, in the basis of singular vectors, where a step is a sum. The
    papers stop near it; here nothing changes any more. The best alpha of a ratio has a closed form.
    Features are not centred. It uses the train items alone: nothing is held out.
    """

    name: ClassVar[str] = "logme"
    compares_classes: ClassVar[bool] = True
    max_iterations: int = 1000

    def __post_init__(self) -> None:
        positive_whole("max_iterations", self.max_iterations)

    def score_one(self, features: Features, task: Task, seed: int) -> Score:
        """Return the evidence of the train labels."""
        n, spectrum = len(task.train_labels), Spectrum.of(features.train)
        if not spectrum.rank:
            return Score.none("all features are 0")
        targets = indicators(task.train_labels)
        along = spectrum.along(targets).square()
        outside = (targets.sum(0) - along.sum(0)).clamp_min(0)
        squares = spectrum.squares[:, None]
        ratio, steps = self._fixed_point(squares, along, outside, n)
        value = float(_log_evidence(squares, along, outside, ratio, n).mean()) / n
        note = "" if steps <= self.max_iterations else "the evidence is not at its maximum yet"
        return Score(value, None, min(steps, self.max_iterations), note)

    def _fixed_point(
        self, squares: Tensor, along: Tensor, outside: Tensor, n: int
    ) -> tuple[Tensor, int]:
        """Return alpha / beta of each class, ``(classes,)``, and the number of iterations.

        One more than the most iterations where they were too few.

        Args:
            squares: ``(rank, 1)`` squared singular values.
            along: ``(rank, classes)`` squared indicators along each direction.
            outside: ``(classes,)`` squared indicators outside of all directions.
            n: number of items.
        """
        largest = float(squares.max())
        low, high = largest / _EXTREME, largest * _EXTREME
        ratio = torch.ones_like(outside).clamp(low, high)
        for step in range(1, self.max_iterations + 1):
            kept = squares / (squares + ratio)
            lost = ratio / (squares + ratio)
            effective = kept.sum(0)
            of_noise = lost.sum(0) + (n - len(squares))
            weights = (along * kept / (squares + ratio)).sum(0)
            residual = (along * lost.square()).sum(0) + outside
            following = (effective * residual / (of_noise * weights)).clamp(low, high)
            if bool(((following - ratio).abs() <= _CONVERGED * ratio).all()):
                return following, step
            ratio = following
        return ratio, self.max_iterations + 1


def _log_evidence(squares: Tensor, along: Tensor, outside: Tensor, ratio: Tensor, n: int) -> Tensor:
    """Return the log evidence of each class at the best alpha of its ratio alpha / beta.

    The indicator is Gaussian with covariance ``(ratio + F F') / alpha``.
    """
    distance = (along / (squares + ratio)).sum(0) + outside / ratio
    volume = (squares + ratio).log().sum(0) + (n - len(squares)) * ratio.log()
    return -0.5 * (n * (math.log(2 * math.pi) + 1) + n * (distance / n).log() + volume)
