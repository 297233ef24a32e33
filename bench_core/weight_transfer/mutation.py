"""Children that differ from their parents in one choice, and what they can take over from them."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from bench_core.weight_transfer.errors import SpaceError
from bench_core.weight_transfer.spaces.base import Archs, SearchSpace


def position_weights(space: SearchSpace, beta: float | None = None) -> npt.NDArray[np.float64]:
    """Return the probability with which each position is changed, shape (L,).

    Positions with one choice have none. Without ``beta`` all others have the same. With it those
    that invalidate the same number of positions are a group; the groups' weights go linearly from
    1, for the one that invalidates the most, to ``beta``, and a group shares its weight evenly.
    So a larger ``beta`` moves the changes towards the end: longer prefixes, less exploration.

    Raises:
        SpaceError: ``beta`` is less than 1 or not finite, or no position has a second choice.
    """
    if beta is not None and not 1 <= beta < math.inf:
        raise SpaceError(f"{space.name}: beta is {beta}, expected a number of at least 1, or None")
    variable = np.asarray(space.choices) > 1
    if not variable.any():
        raise SpaceError(f"{space.name}: no position has a second choice, nothing can be changed")
    weights = variable.astype(np.float64)
    if beta is None:
        weights /= weights.sum()
        return weights
    depends = np.asarray(space.depends)[variable]
    _, group, members = np.unique(-depends, return_inverse=True, return_counts=True)
    shares = np.linspace(1, beta, len(members)) / members
    weights[variable] = shares[group]
    weights /= weights.sum()
    return weights


def mutate(
    space: SearchSpace, archs: npt.ArrayLike, rng: np.random.Generator, beta: float | None = None
) -> Archs:
    """Return a child of each row: one position has another choice, every other one the same odds.

    ``archs`` and the result have shape (n, L), ``beta`` is as in `position_weights`. Real et al.,
    "Regularized evolution", AAAI 2019.

    Raises:
        SpaceError: rows that are not of this space, or as in `position_weights`.
    """
    children: Archs = space.check(archs).copy()
    weights = position_weights(space, beta)
    rows = np.arange(len(children))
    positions = rng.choice(len(weights), size=len(rows), p=weights)
    others = np.asarray(space.choices)[positions] - 1
    # Drawn from one choice fewer, the numbers from the present one on stand for the next higher.
    drawn = rng.integers(others, size=len(rows))
    children[rows, positions] = drawn + (drawn >= children[rows, positions])
    return children


def expected_transfer(space: SearchSpace, beta: float | None = None) -> float:
    """Return how many positions a child is expected to take over from its own parent.

    L - sum over v of w_v (1 + descendants of v): a change invalidates its position and what lies
    behind it. For a chain with even weights (L - 1) / 2.

    Raises:
        SpaceError: as in `position_weights`.
    """
    lost = 1 + np.asarray(space.depends)
    return float(len(lost) - position_weights(space, beta) @ lost)
