"""How far two tensors of the same place in two models agree, and runs of equal levels."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

import torch

from bench_core.models.digests import equal_bytes


class Level(Enum):
    """How far two tensors agree; each level includes the ones before."""

    DIFFERENT_NAME = "different_name"
    """Only one of the models has a tensor of this name."""
    SAME_NAME = "same_name"
    """Both have one, of different shapes: a head for other classes."""
    SAME_SHAPE = "same_shape"
    """Same name and shape, different bits or types: trained."""
    IDENTICAL = "identical"
    """Same type, shape, and every bit: frozen."""


@dataclass(frozen=True)
class Group:
    """Neighbouring tensors of one level."""

    level: Level
    count: int


def level_of(a: torch.Tensor | None, b: torch.Tensor | None) -> Level:
    """Return how far two tensors of one name agree; None: the model has no such tensor.

    Bits count: equal NaNs are identical, 0.0 and -0.0 are not.
    """
    if a is None or b is None:
        return Level.DIFFERENT_NAME
    if a.shape != b.shape:
        return Level.SAME_NAME
    return Level.IDENTICAL if equal_bytes(a, b) else Level.SAME_SHAPE


def groups(levels: Iterable[Level]) -> list[Group]:
    """Return the runs of equal levels: a frozen prefix is one group at the beginning."""
    return [Group(level, len(list(run))) for level, run in itertools.groupby(levels)]
