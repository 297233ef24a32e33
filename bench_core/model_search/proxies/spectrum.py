"""Singular values of features, from the smaller of their two products with themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from bench_core.model_search.proxies.base import occurring

_NOISE: Final = 1e-10
"""Of the largest squared singular value: what is below is rounding of float32 features."""
_EXACT: Final = 1e10
"""Up to this trace of a product the identity beside it is not lost in float64's rounding."""


@dataclass(frozen=True)
class Spectrum:
    """The directions of items in feature space."""

    items: Tensor
    """``(n, dim)`` float64."""
    squares: Tensor
    """``(rank,)`` float64: squared singular values, above 0."""
    vectors: Tensor
    """``(min(n, dim), rank)``: right singular vectors of more items than features, else left."""

    @classmethod
    def of(cls, features: Tensor) -> Spectrum:
        """Return the directions of ``(n, dim)`` features."""
        items = features.double()
        squares, vectors = torch.linalg.eigh(_smaller_product(items))
        kept = squares > _NOISE * squares[-1]
        return cls(items, squares[kept], vectors[:, kept])

    @property
    def rank(self) -> int:
        """Number of directions."""
        return len(self.squares)

    def along(self, targets: Tensor) -> Tensor:
        """Return ``(rank, k)`` how far targets ``(n, k)`` go along each left singular vector.

        The left vectors themselves, as large as the items, are never needed.
        """
        if not self._tall:
            return self.vectors.T @ targets
        return self.vectors.T @ (self.items.T @ targets) / self.squares.sqrt()[:, None]

    def weights(self, along: Tensor) -> Tensor:
        """Return ``(dim, k)`` what the items' transpose makes of ``(rank, k)`` along the left."""
        if not self._tall:
            return self.items.T @ (self.vectors @ along)
        return self.vectors @ (self.squares.sqrt()[:, None] * along)

    @property
    def _tall(self) -> bool:
        return self.items.shape[0] > self.items.shape[1]


def log_volume(features: Tensor, scale: float) -> float:
    """Return the log determinant of the identity plus ``scale`` times F'F, F being ``(n, dim)``."""
    product = scale * _smaller_product(features.double())
    if float(product.trace()) < _EXACT:
        factor = torch.linalg.cholesky(product + torch.eye(len(product), dtype=torch.float64))
        return 2 * float(factor.diagonal().log().sum())
    values = torch.linalg.eigvalsh(product)
    return float(values[values > _NOISE * values[-1]].log1p().sum())


def centred(features: Tensor) -> Tensor:
    """Return ``(n, dim)`` float32 features less their mean, in float64: equal ones are 0."""
    wide = features.double()
    return wide - wide.mean(0)


def indicators(labels: Tensor) -> Tensor:
    """Return for each class that occurs a column with 1 at its items: ``(n, found)`` float64."""
    return torch.eq(labels[:, None], occurring(labels)).double()


def _smaller_product(items: Tensor) -> Tensor:
    return items.T @ items if items.shape[0] > items.shape[1] else items @ items.T
