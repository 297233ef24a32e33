"""TransRate: how much of what it takes to describe the features the classes account for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from bench_core.model_search.proxies.base import Features, Proxy, Score, Task, occurring, positive
from bench_core.model_search.proxies.spectrum import centred, log_volume


@dataclass(frozen=True)
class TransRate(Proxy):
    """Coding rate of all features less the mean coding rate within classes, in nats.

    Huang et al., "Frustratingly easy transferability estimation", ICML 2022, section 3. For the
    features Z, ``(n, dim)``, less their mean, and the rows Zc of class c among them::

        R(Z) = 1/2 log det(1 + Z'Z / (n eps)),  TransRate = R(Z) - mean over c of R(Zc)

    It uses the train items alone: nothing is held out. Features of a larger scale have a larger
    score, as published; a rotation or a shift of all changes nothing.
    """

    name: ClassVar[str] = "transrate"
    compares_classes: ClassVar[bool] = True
    distortion: float = 1e-4
    """The paper's epsilon, as its listing divides by it: the squared error that a code may make."""
    by_items: bool = True
    """Weight each class by its items, as the entropy given the labels asks: never below 0. Without
    it the plain mean over classes of the paper's listing, the same for classes of the same size."""

    def __post_init__(self) -> None:
        positive("distortion", self.distortion)

    def score_one(self, features: Features, task: Task, seed: int) -> Score:
        """Compare the coding rates of the train features."""
        items, labels = centred(features.train), task.train_labels
        parts = [items[labels == label] for label in occurring(labels)]
        weights = [len(part) if self.by_items else 1 for part in parts]
        rates = [weight * self._rate(part) for weight, part in zip(weights, parts, strict=True)]
        within = math.fsum(rates) / sum(weights)
        return Score(self._rate(items) - within, None, 1)

    def _rate(self, items: Tensor) -> float:
        """Return nats to code ``(n, dim)`` items up to the distortion."""
        return 0.5 * log_volume(items, 1 / (len(items) * self.distortion))
