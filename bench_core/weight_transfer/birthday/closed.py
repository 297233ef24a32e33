"""How long a prefix is to be expected in common with the best of n stored models: closed forms.

An architecture is a sequence of choices, one a layer. The chance that one of n independent models
begins with the same m choices is that of a birthday problem; after the estimate in the artifact of
"EvoStore" (Underwood et al., HPDC 2024), with the expectations worked out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from bench_core.weight_transfer.errors import SpaceError

Floats = npt.NDArray[np.float64]

EULER: Final = 0.5772156649015329
_LARGEST_TABLE: Final = 1 << 22
"""Prefixes that are summed over one by one; 32 MiB."""


@dataclass(frozen=True)
class PrefixEstimate:
    """What n random models and one more have in common."""

    at_least: tuple[float, ...]
    """For m = 1, 2, … the probability that the best of them has the first m layers."""
    layers: float
    """Expected length of the longest common prefix."""
    nbytes: float
    """Expected bytes of that prefix; 0 where no sizes were given."""
    distinct: float
    """Expected number of different prefixes of all lengths: what a perfect sharer stores, in
    layers."""
    dedup_ratio: float
    """Layers of all n models, or their bytes where sizes were given, over those of `distinct`."""


def estimate(
    choices: Sequence[int], n: int, nbytes: Sequence[float] | None = None
) -> PrefixEstimate:
    """Return what n random models of a chain have in common with another one, and each other.

    ``P(at least m) = 1 - (1 - 1/D_m)^n`` with ``D_m`` the product of the first m numbers of
    choices; the expected length is the sum of these, the expected number of different prefixes
    ``sum D_m (1 - (1 - 1/D_m)^n)``. All choices are equally likely and independent.

    Args:
        choices: number of choices at each position.
        n: stored models.
        nbytes: of each position, averaged over its choices; 0 for those without parameters.

    Raises:
        SpaceError: a position without a choice, fewer than 0 models, sizes of another length or
            that no layer can have.
    """
    log_prefixes = _log_prefixes(choices)
    _check_models(n)
    sizes = np.ones(len(choices)) if nbytes is None else np.asarray(nbytes, dtype=np.float64)
    if not (np.isfinite(sizes) & (sizes >= 0)).all():
        raise SpaceError(f"bytes {sizes.tolist()}, expected finite numbers of at least 0")
    if len(sizes) != len(choices):
        raise SpaceError(
            f"{len(choices)} positions and the bytes of {len(sizes)}, expected as many"
        )
    at_least = any_of(n, log_prefixes)
    distinct = _distinct(n, log_prefixes, at_least)
    stored = float(distinct @ sizes)
    return PrefixEstimate(
        at_least=tuple(at_least.tolist()),
        layers=float(at_least.sum()),
        nbytes=0.0 if nbytes is None else float(at_least @ sizes),
        distinct=float(distinct.sum()),
        dedup_ratio=n * float(sizes.sum()) / stored if stored else 1.0,
    )


def asymptote(k: int, n: int) -> float:
    """Return the expected length for k choices everywhere and no end: it grows with log n.

    ``log_k n + gamma / ln k - 1/2``, up to a tiny oscillation.

    Raises:
        SpaceError: fewer than 2 choices or 1 model.
    """
    if k < 2 or n < 1:
        raise SpaceError(f"{k} choices and {n} models, expected at least 2 and 1")
    return math.log(n, k) + EULER / math.log(k) - 0.5


def uneven(probabilities: Sequence[Sequence[float]], n: int) -> tuple[float, ...]:
    """Return P(at least m) for choices that are not equally likely, by the sum over all prefixes.

    ``E_x[1 - (1 - pi_m(x))^n]``, ``pi_m(x)`` the probability of x's first m choices.

    Args:
        probabilities: of each position's choices; each sums to 1.
        n: stored models.

    Raises:
        SpaceError: no probabilities, or more prefixes than can be summed over: simulate these.
    """
    _check_models(n)
    prefixes, found = np.ones(1), []
    for position in map(_probabilities, probabilities):
        if prefixes.size * position.size > _LARGEST_TABLE:
            raise SpaceError(
                f"{prefixes.size * position.size} prefixes, at most {_LARGEST_TABLE} can be summed "
                "over; use `simulate`"
            )
        prefixes = np.multiply.outer(prefixes, position).ravel()
        found.append(float(prefixes @ any_of(n, -_log(prefixes))))
    return tuple(found)


def uneven_bound(probabilities: Sequence[Sequence[float]], n: int) -> tuple[float, ...]:
    """Return an upper bound of `uneven` for any number of positions: by concavity.

    ``1 - (1 - prod s_i)^n`` with ``s_i`` the sum of the squares of position i's probabilities.

    Raises:
        SpaceError: no probabilities.
    """
    _check_models(n)
    squares = [float((p * p).sum()) for p in map(_probabilities, probabilities)]
    return tuple(any_of(n, -np.cumsum(np.log(squares))).tolist())


def child(choices: Sequence[int], n: int, weights: Sequence[float] | None = None) -> float:
    """Return the expected longest prefix of a child of one of n random models, all n stored.

    ``sum_m 1 - W_m (1 - 1/D_m)^(n-1)``, ``W_m`` the probability that one of the first m positions
    was mutated. A lower bound for populations that evolve, whose members share more.

    Args:
        choices: number of choices at each position.
        n: stored models, the parent among them.
        weights: of the positions when one is drawn to be mutated; None for equal ones. Positions
            with a single choice are never drawn.

    Raises:
        SpaceError: no weights for these positions, or no parent.
    """
    log_prefixes = _log_prefixes(choices)
    if n < 1:
        raise SpaceError(f"{n} models, expected at least the parent")
    reached = np.cumsum(mutation_probabilities(choices, weights))
    return float((1 - reached * (1 - any_of(n - 1, log_prefixes))).sum())


def several_donors(choices: Sequence[int], before: Sequence[Sequence[int]], n: int) -> float:
    """Return how many layers of a graph any of n random models has: several donors' coverage.

    ``sum_v 1 - (1 - 1/D_v)^n``, ``D_v`` over v and all that lies before it: an upper bound of what
    a single donor has, and equal to it on chains.

    Args:
        choices: number of choices of each layer, in topological order.
        before: for each layer the positions whose outputs it takes.
        n: stored models.

    Raises:
        SpaceError: as `estimate`; or a layer that takes a later one's output.
    """
    logs = np.diff(_log_prefixes(choices), prepend=0.0)
    _check_models(n)
    cones: list[frozenset[int]] = []
    for position, others in enumerate(before):
        if any(not 0 <= other < position for other in others):
            raise SpaceError(f"layer {position} takes the output of one that is not before it")
        cones.append(frozenset((position,)).union(*(cones[other] for other in others)))
    return float(any_of(n, np.array([logs[sorted(cone)].sum() for cone in cones])).sum())


def any_two(choices: Sequence[int], n: int) -> tuple[float, ...]:
    """Return for m = 1, 2, … the probability that any two of n models share the first m layers.

    The birthday problem itself: ``1 - prod_{i<n} (1 - i/D_m)``.

    Raises:
        SpaceError: as `estimate`.
    """
    _check_models(n)
    found = []
    for log_prefix in _log_prefixes(choices):
        shares = np.arange(n) * math.exp(-log_prefix)
        with np.errstate(divide="ignore"):
            apart = np.log1p(-np.minimum(shares, 1.0)).sum()
        found.append(float(-np.expm1(apart)))
    return tuple(found)


def any_of(n: int, log_prefixes: Floats) -> Floats:
    """Return ``1 - (1 - 1/D)^n`` for ``log D``, exact for D of any size."""
    if n == 0:
        return np.zeros_like(log_prefixes)
    with np.errstate(divide="ignore"):
        none: Floats = n * np.log1p(-np.exp(-np.maximum(log_prefixes, 0.0)))
    return np.negative(np.expm1(none))


def mutation_probabilities(choices: Sequence[int], weights: Sequence[float] | None) -> Floats:
    """Return the probability of each position to be mutated: none where there is no other choice.

    Raises:
        SpaceError: not a weight of at least 0 for each position, or nothing can be mutated.
    """
    given = np.ones(len(choices)) if weights is None else np.asarray(weights, dtype=np.float64)
    if given.shape != (len(choices),) or not (np.isfinite(given) & (given >= 0)).all():
        raise SpaceError(f"weights {given.tolist()}, expected {len(choices)} of at least 0")
    possible: Floats = given * (np.asarray(choices) > 1)
    if not possible.sum() > 0:
        raise SpaceError(f"choices {list(choices)}, expected a second one where a weight is not 0")
    possible /= possible.sum()
    return possible


def _distinct(n: int, log_prefixes: Floats, at_least: Floats) -> Floats:
    """Return the expected number of different prefixes of each length."""
    # Beyond this no two models meet, and D itself would not be a number any more.
    small = np.minimum(log_prefixes, 600.0)
    return np.where(log_prefixes < 600.0, np.minimum(np.exp(small) * at_least, n), float(n))


def _log_prefixes(choices: Sequence[int]) -> Floats:
    if not len(choices) or min(choices) < 1:
        raise SpaceError(f"choices {list(choices)}, expected one or more at each position")
    return np.cumsum(np.log(np.asarray(choices, dtype=np.float64)))


def _probabilities(given: Sequence[float]) -> Floats:
    found = np.asarray(given, dtype=np.float64)
    if found.ndim != 1 or not (found >= 0).all() or not math.isclose(found.sum(), 1, abs_tol=1e-9):
        raise SpaceError(
            f"probabilities {list(given)}, expected numbers of at least 0 that sum to 1"
        )
    return found


def _log(values: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        return np.log(values)


def _check_models(n: int) -> None:
    if n < 0:
        raise SpaceError(f"{n} models, expected 0 or more")
