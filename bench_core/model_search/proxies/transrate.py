"""TransRate: how much of what it takes to describe the features the classes account for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from bench_core.model_search.proxies.base import Features, Proxy, Score, Task, occurring, positive
from bench_core.model_search.proxies.spectrum import centred, squared_singular_values


@dataclass(frozen=True)
class TransRate(Proxy):
    """Coding rate of all features less the mean coding rate within classes, in nats.

    Huang et al., "Frustratingly easy transferability estimation", ICML 2022: the rate distortion of
    the centred features less that given the classes, each weighted by its items. It uses the train
    items alone: nothing is held out. Features of a larger scale have a larger score, as published.
    """

    name: ClassVar[str] = "transrate"
    compares_classes: ClassVar[bool] = True
    distortion: float = 1e-4
    """The paper's epsilon, as its listing divides by it: the squared error that a code may make."""

    def __post_init__(self) -> None:
        positive("distortion", self.distortion)

    def score_one(self, features: Features, task: Task, seed: int) -> Score:
        """Compare the coding rates of the train features."""
        items, labels = centred(features.train), task.train_labels
        parts = [items[labels == label] for label in occurring(labels)]
        within = math.fsum(len(part) * self._rate(part) for part in parts) / len(items)
        return Score(self._rate(items) - within, None, 1)

    def _rate(self, items: Tensor) -> float:
        """Return nats to code ``(n, dim)`` items up to the distortion."""
        scaled = squared_singular_values(items) / (len(items) * self.distortion)
        return 0.5 * float(scaled.log1p().sum())
