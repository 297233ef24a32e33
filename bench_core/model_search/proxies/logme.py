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
    learning", ICML 2021, algorithm 1: each class's indicator is a linear
    function of the features with Gaussian weights (precision alpha) and noise (precision beta);
    both are brought to a fixed point of the evidence. It uses the train items alone: nothing is
    held out.

    The fixed point is sought for the ratio alpha / beta in the basis of singular vectors, where
    each step is a sum; the best alpha of a ratio then has a closed form.
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
        along = (spectrum.left.T @ targets).square()
        outside = (targets.sum(0) - along.sum(0)).clamp_min(0)
        squares = spectrum.squares[:, None]
        ratio, steps = self._fixed_point(squares, along, outside, n)
        value = float(_log_evidence(squares, along, outside, ratio, n).mean()) / n
        return Score(value, None, steps)

    def _fixed_point(
        self, squares: Tensor, along: Tensor, outside: Tensor, n: int
    ) -> tuple[Tensor, int]:
        """Return alpha / beta of each class, ``(classes,)``, and the number of iterations.

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
        return ratio, self.max_iterations


def _log_evidence(squares: Tensor, along: Tensor, outside: Tensor, ratio: Tensor, n: int) -> Tensor:
    """Return the log evidence of each class at the best alpha of its ratio alpha / beta.

    The indicator is Gaussian with covariance ``(ratio + F F') / alpha``.
    """
    distance = (along / (squares + ratio)).sum(0) + outside / ratio
    volume = (squares + ratio).log().sum(0) + (n - len(squares)) * ratio.log()
    return -0.5 * (n * (math.log(2 * math.pi) + 1) + n * (distance / n).log() + volume)
