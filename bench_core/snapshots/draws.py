"""How many of its last blocks each model of a set has of its own: the published draws."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np

from bench_core.errors import BenchCoreError, UnknownNameError, nearest

PUBLISHED_SEED: Final = 42
"""The published sets are all drawn with this one."""


class DrawError(BenchCoreError, ValueError):
    """Blocks to re-train were asked for that no model has."""


@dataclass(frozen=True)
class TruncatedNormal:
    """A normal distribution within [0, N], for chains of N cuts."""

    mean: float
    """As a fraction of N."""
    means_in_deviation: float
    """How many standard deviations the mean is."""


_DISTRIBUTIONS: Final = {
    "TOP_LAYERS": TruncatedNormal(0.1, 2),
    "TWENTY_FIVE_PERCENT": TruncatedNormal(0.25, 2),
    "FIFTY_PERCENT": TruncatedNormal(0.5, 4),
}
LAST_ONE_LAYER: Final = "LAST_ONE_LAYER"
HARD_CODED: Final = "HARD_CODED"
DISTRIBUTIONS: Final = (*_DISTRIBUTIONS, LAST_ONE_LAYER)
"""Names that `retrained_blocks` knows; a list of numbers can stand in the place of one."""

Distribution = str | Sequence[int]


def distribution_name(distribution: Distribution) -> str:
    """Return the name under which a distribution is filed: ``HARD_CODED`` for a list.

    Raises:
        UnknownNameError: there is no such distribution.
    """
    if not isinstance(distribution, str):
        return HARD_CODED
    if distribution.upper() not in DISTRIBUTIONS:
        raise UnknownNameError(
            f"unknown distribution {distribution!r}; expected one of {', '.join(DISTRIBUTIONS)}, "
            f"or a list of numbers{nearest(distribution.upper(), DISTRIBUTIONS)}"
        )
    return distribution.upper()


def retrained_blocks(
    distribution: Distribution, n_cuts: int, count: int, seed: int = PUBLISHED_SEED
) -> list[int]:
    """Return for each of ``count`` derived models how many trainable blocks are its own.

    The numbers of Alsatian (section 5.1), which come from ``scipy.stats.truncnorm.rvs`` with
    ``random_state=42``, rounded to even at halves. They are computed here without scipy: quantiles
    of `statistics.NormalDist` at the uniform numbers of `numpy.random.RandomState`, whose stream
    numpy has frozen. So they depend on no library's version, and the first of many draws are
    the draws of fewer.

    Args:
        distribution: one of `DISTRIBUTIONS`, in either case, or the numbers themselves.
        n_cuts: the number of cuts of the chain, "no block" included: ``len(ChainSpec.cuts)``.
        count: how many.
        seed: of the uniform numbers.

    Raises:
        UnknownNameError: there is no such distribution.
        DrawError: the numbers are fewer than ``count``, or outside [0, ``n_cuts``].
    """
    name = distribution_name(distribution)
    if not isinstance(distribution, str):
        return _checked(list(distribution), n_cuts, count)
    if name == LAST_ONE_LAYER:
        return [1] * count
    return _truncated_normal(_DISTRIBUTIONS[name], n_cuts, count, seed)


def first_own_block(cuts: Sequence[int], retrained: int) -> int:
    """Return the first block of the model's own in a chain with these cuts.

    A draw can be as large as the number of cuts, "no block" included, which is one more than there
    are blocks to re-train: then all are.
    """
    return cuts[min(retrained, len(cuts) - 1)]


def derived_seed(*parts: int | str) -> int:
    """Return a seed of 63 bits that follows from these parts, on every machine alike."""
    text = "/".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def _truncated_normal(which: TruncatedNormal, n_cuts: int, count: int, seed: int) -> list[int]:
    mean = which.mean * n_cuts
    normal = NormalDist(mean, mean / which.means_in_deviation)
    low, high = normal.cdf(0), normal.cdf(n_cuts)
    uniform = np.random.RandomState(seed).random_sample(count)
    # The sum can round to 1, which has no quantile.
    below = math.nextafter(1, 0)
    return [round(normal.inv_cdf(min(low + u * (high - low), below))) for u in uniform.tolist()]


def _checked(numbers: list[int], n_cuts: int, count: int) -> list[int]:
    if len(numbers) < count:
        raise DrawError(
            f"{len(numbers)} numbers of blocks to re-train for {count} derived models; "
            "give one for each"
        )
    wrong = [number for number in numbers[:count] if not 0 <= number <= n_cuts]
    if wrong:
        raise DrawError(f"{wrong[0]} blocks to re-train; expected 0 to {n_cuts}, the chain's cuts")
    return numbers[:count]
