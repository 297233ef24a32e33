"""Singular values of features, from the smaller of their two products with themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from bench_core.model_search.proxies.base import occurring

_NOISE: Final = 1e-10
"""Of the largest squared singular value: what is below is rounding of float32 features."""


@dataclass(frozen=True)
class Spectrum:
    """The directions of items in feature space."""

    left: Tensor
    """``(n, rank)`` float64: left singular vectors."""
    squares: Tensor
    """``(rank,)`` float64: squared singular values, above 0."""

    @classmethod
    def of(cls, features: Tensor) -> Spectrum:
        """Return the directions of ``(n, dim)`` features."""
        wide = features.double()
        tall = wide.shape[0] > wide.shape[1]
        squares, vectors = torch.linalg.eigh(wide.T @ wide if tall else wide @ wide.T)
        kept = squares > _NOISE * squares[-1]
        squares, vectors = squares[kept], vectors[:, kept]
        return cls(wide @ vectors / squares.sqrt() if tall else vectors, squares)

    @property
    def rank(self) -> int:
        """Number of directions."""
        return len(self.squares)


def squared_singular_values(features: Tensor) -> Tensor:
    """Return the ``min(n, dim)`` squared singular values of ``(n, dim)`` features, in float64."""
    wide = features.double()
    smaller = wide.T @ wide if wide.shape[0] > wide.shape[1] else wide @ wide.T
    values: Tensor = torch.linalg.eigvalsh(smaller)
    return values.clamp_min(0)


def centred(features: Tensor) -> Tensor:
    """Return ``(n, dim)`` features less their mean, in float64."""
    wide = features.double()
    return wide - wide.mean(0)


def indicators(labels: Tensor) -> Tensor:
    """Return for each class that occurs a column with 1 at its items: ``(n, found)`` float64."""
    return torch.eq(labels[:, None], occurring(labels)).double()
