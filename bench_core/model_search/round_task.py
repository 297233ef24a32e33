"""The labels of a round, as a proxy score takes them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from bench_core.data import SearchData
from bench_core.model_search.batches import Batch
from bench_core.model_search.proxies import Task


def round_task(data: SearchData, train: Sequence[Batch], test: Sequence[Batch]) -> Task:
    """Return the task of scoring models by these items.

    Args:
        data: whose labels they are.
        train: batches of the training items, from the first item on.
        test: batches of all test items.

    Raises:
        ProxyError: labels that no proxy score can be computed from.
    """
    return Task(
        train_labels=torch.from_numpy(data.train.labels[: train[-1].stop]),
        test_labels=torch.from_numpy(data.test.labels),
        n_classes=len(data.train.classes),
        train_batches=tuple(map(len, train)),
        test_batches=tuple(map(len, test)),
    )
