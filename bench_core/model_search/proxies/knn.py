"""Nearest neighbours as a proxy: do items of a class lie together?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from bench_core.model_search.proxies.base import (
    Features,
    Proxy,
    ProxyError,
    Score,
    Task,
    positive_whole,
    top_1,
)

Metric = Literal["cosine", "euclidean"]

_CHUNK: Final = 512
"""Test items that are compared with all train items at once: bounds memory."""


@dataclass(frozen=True)
class NearestNeighbours(Proxy):
    """Top-1 accuracy on the test items of a vote among the nearest train items.

    (Cover and Hart, "Nearest neighbor pattern classification", 1967.) Of neighbours at the same
    distance the first train item counts, of classes with the same number of votes the smallest
    label. Fewer train items than neighbours all vote.
    """

    name: ClassVar[str] = "knn"
    neighbours: int = 5
    metric: Metric = "cosine"

    def __post_init__(self) -> None:
        positive_whole("neighbours", self.neighbours)
        if self.metric not in get_args(Metric):
            raise ProxyError(
                f"metric is {self.metric!r}, but one of {', '.join(get_args(Metric))} was expected"
            )

    def score_one(self, features: Features, task: Task, seed: int) -> Score:
        """Let the nearest train items of each test item vote."""
        classes = one_hot(task.train_labels, task.n_classes).double()
        train, test = features.train.double(), features.test.double()
        if self.metric == "cosine":
            train, test = normalize(train), normalize(test)
        votes = [
            _nearest(self._closeness(chunk, train), self.neighbours).double() @ classes
            for chunk in torch.split(test, _CHUNK)
        ]
        return Score(top_1(torch.cat(votes), task.test_labels), None, 1)

    def _closeness(self, test: Tensor, train: Tensor) -> Tensor:
        """Return ``(n_test, n_train)``, for each test item higher where a train item is nearer."""
        products = test @ train.T
        return products if self.metric == "cosine" else 2 * products - train.square().sum(1)


def _nearest(closeness: Tensor, count: int) -> Tensor:
    """Return which ``count`` of each row are the highest, the first ones on a tie, as booleans."""
    count = min(count, closeness.shape[1])
    last = closeness.topk(count).values[:, -1:]
    above, level = closeness > last, closeness == last
    return above | (level & (level.cumsum(1) <= count - above.sum(1, keepdim=True)))
