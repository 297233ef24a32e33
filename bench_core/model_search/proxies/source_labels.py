"""What the classifier that a model came with says of the items' own labels."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from bench_core.model_search.proxies.base import Features, occurring
from bench_core.model_search.proxies.spectrum import indicators


def source_logits(features: Features) -> Tensor:
    """Return the train items' logits ``(n, source_classes)`` of the model's own head, in float64.

    That they are there was checked before.
    """
    return cast(Tensor, features.train_source).double()


def label_given_source(labels: Tensor, source: Tensor) -> Tensor:
    """Return for each item the share of its label in each source class, ``(n, source_classes)``.

    Args:
        labels: ``(n,)``.
        source: ``(n, source_classes)`` how much each item belongs to each source class.
    """
    joint = indicators(labels).T @ source
    total = source.sum(0)
    # A source class of no item has no share to give.
    shares = torch.where(total > 0, joint / total, 0.0)
    return shares[torch.searchsorted(occurring(labels), labels)]
