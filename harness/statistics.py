"""What samples say: summaries, ratios with intervals, verdicts, and thresholds from A/A runs.

Samples of one process (or one round) share its luck, so a bootstrap resamples the groups first and
the samples inside them after (Kalibera and Jones, "Rigorous Benchmarking in Reasonable Time", ISMM
2013). Percentile intervals of few observations are too narrow; they are widened as Hesterberg
proposes ("What Teachers Should Know About the Bootstrap", arXiv 1411.5279, section 4): the quantile
level is taken from Student's distribution, with the groups as its observations.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from harness.errors import InputError

Verdict = Literal["faster", "slower", "unchanged", "cannot tell"]
Values = Sequence[float] | npt.NDArray[np.float64]

THRESHOLD_FLOOR: Final = 0.05
"""No change below 5 % is called one, however quiet the machine is."""
MINIMUM_SAMPLES: Final = 6
"""Samples a side below which a comparison is not to be trusted."""
DEFAULT_RESAMPLES: Final = 4000


@dataclass(frozen=True)
class Summary:
    """Median, quartiles and minimum of some samples, in the samples' unit."""

    n: int
    median: float
    q25: float
    q75: float
    minimum: float


@dataclass(frozen=True)
class Ratio:
    """A ratio of medians and the interval that holds it with the stated confidence."""

    value: float
    low: float
    high: float
    n_a: int
    n_b: int
    groups: int
    """Independent groups (processes, rounds; else samples) on the side that has fewer of them."""
    confidence: float = 0.95


def summary(values: Values) -> Summary:
    """Summarise samples; quartiles interpolate linearly.

    Raises:
        InputError: there are no samples, or one is not finite.
    """
    array = _checked(values, "values")
    q25, median, q75 = np.quantile(array, [0.25, 0.5, 0.75])
    return Summary(len(array), float(median), float(q25), float(q75), float(array.min()))


def ratio(
    a: Values,
    b: Values,
    groups_a: Sequence[Hashable] | None = None,
    groups_b: Sequence[Hashable] | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> Ratio:
    """Return median(a) / median(b) with a hierarchical bootstrap interval.

    For times, a ratio below 1 says that ``a`` is faster than ``b``.

    Args:
        a: positive samples of the one side.
        b: positive samples of the other side, which is the base of the comparison.
        groups_a: the group (process, round) of each sample of ``a``; without it, or when all are
            of one group, samples count as independent.
        groups_b: the same for ``b``.
        confidence: probability that the interval is meant to hold.
        resamples: number of bootstrap samples.
        seed: of the resampling; equal seeds give equal intervals.

    Raises:
        InputError: a side is empty, a sample is not positive and finite, or lengths differ.
    """
    side_a, side_b = _grouped(a, groups_a, "a"), _grouped(b, groups_b, "b")
    generator = np.random.default_rng(seed)
    drawn = _resampled_medians(side_a, resamples, generator) / _resampled_medians(
        side_b, resamples, generator
    )
    units = min(_independent(side_a), _independent(side_b))
    value = _median_of(side_a) / _median_of(side_b)
    degrees = _independent(side_a) + _independent(side_b) - 2
    low, high = _interval(drawn, units, degrees, confidence)
    # A few resamples can miss the estimate itself; an interval that excludes it says nothing true.
    return Ratio(
        value=value,
        low=min(low, value),
        high=max(high, value),
        n_a=sum(map(len, side_a)),
        n_b=sum(map(len, side_b)),
        groups=units,
        confidence=confidence,
    )


def paired_ratio(
    a: Values,
    b: Values,
    rounds_a: Sequence[Hashable],
    rounds_b: Sequence[Hashable],
    *,
    confidence: float = 0.95,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> Ratio:
    """Return the median of the per-round ratios of medians, with an interval over the rounds.

    What drifts from round to round hits both sides of a round alike and cancels. Samples of rounds
    that only one side has are not used.

    Raises:
        InputError: as `ratio`, or no round has samples of both sides.
    """
    ratios = np.asarray(round_ratios(a, b, rounds_a, rounds_b))
    generator = np.random.default_rng(seed)
    drawn = np.median(generator.choice(ratios, (resamples, len(ratios))), axis=1)
    value = float(np.median(ratios))
    low, high = _interval(drawn, len(ratios), len(ratios) - 1, confidence)
    return Ratio(value, min(low, value), max(high, value), len(a), len(b), len(ratios), confidence)


def bootstrap_median(
    values: Values,
    groups: Sequence[Hashable] | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the interval that holds the median, by a hierarchical bootstrap.

    Args:
        values: samples.
        groups: the group (process, round) of each; as in `ratio`.
        confidence: probability that the interval is meant to hold.
        resamples: number of bootstrap samples.
        seed: of the resampling; equal seeds give equal intervals.

    Returns:
        Its ends; both are infinite for one observation, which bounds nothing.

    Raises:
        InputError: there are no samples, one is not finite, or lengths differ.
    """
    array = _checked(values, "values")
    parts = [array] if groups is None else list(_by_group(array, groups, "values").values())
    units = _independent(parts)
    if units < 2:
        return -math.inf, math.inf
    drawn = _resampled_medians(parts, resamples, np.random.default_rng(seed))
    low, high = _interval(drawn, units, units - 1, confidence)
    median = float(np.median(array))
    return min(low, median), max(high, median)


def round_ratios(
    a: Values, b: Values, rounds_a: Sequence[Hashable], rounds_b: Sequence[Hashable]
) -> list[float]:
    """Return median(a) / median(b) of each round that both sides have, in order of appearance.

    Raises:
        InputError: as `ratio`, or no round has samples of both sides.
    """
    by_round_a = _by_group(_positive(a, "a"), rounds_a, "a")
    by_round_b = _by_group(_positive(b, "b"), rounds_b, "b")
    shared = [key for key in by_round_a if key in by_round_b]
    if not shared:
        raise InputError("no round has samples of both sides, so they cannot be paired")
    return [float(np.median(by_round_a[key]) / np.median(by_round_b[key])) for key in shared]


def verdict(
    compared: Ratio, threshold: float = THRESHOLD_FLOOR, margin: float | None = None
) -> Verdict:
    """Judge side a of a ratio of times against side b.

    ``faster`` or ``slower`` only if the whole interval lies beyond the threshold, which counts
    alike in both directions: below 1 / (1 + threshold), or above 1 + threshold. ``unchanged`` only
    if the whole interval lies within the margin, of at least `MINIMUM_SAMPLES` independent groups:
    a bootstrap never reaches beyond its samples, and a few may lie close together by chance.

    Args:
        compared: the ratio and its interval.
        threshold: the change that counts; above what the machine's noise makes of equal code.
        margin: the change that is too small to matter, whatever the noise; by default the
            threshold. Noise must not make it larger: a doubling within it is no proof of anything.
    """
    if compared.high < 1 / (1 + threshold):
        return "faster"
    if compared.low > 1 + threshold:
        return "slower"
    most = 1 + (threshold if margin is None else margin)
    is_inside = 1 / most <= compared.low and compared.high <= most
    return "unchanged" if is_inside and compared.groups >= MINIMUM_SAMPLES else "cannot tell"


def threshold_from_aa(ratios: Iterable[float], floor: float = THRESHOLD_FLOOR) -> float:
    """Return the change worth reporting, from ratios of the same code against itself.

    Twice the largest distance of an A/A ratio from 1 (in either direction), and never below
    ``floor``. The ratios are `round_ratios` or the `Ratio.value` of A/A runs on the same machine.
    """
    array = _positive(list(ratios), "A/A ratios")
    spread = math.exp(float(np.abs(np.log(array)).max())) - 1
    return max(2 * spread, floor)


Groups = list[npt.NDArray[np.float64]]


def _checked(values: Values, name: str) -> npt.NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not array.size:
        raise InputError(f"{name}: found no samples, at least one is needed")
    if not np.isfinite(array).all():
        raise InputError(f"{name}: a sample is not finite; leave out failed samples first")
    return array


def _positive(values: Values, name: str) -> npt.NDArray[np.float64]:
    array = _checked(values, name)
    if not (array > 0).all():
        raise InputError(f"{name}: found {array.min()}, a ratio needs positive samples")
    return array


def _by_group(
    array: npt.NDArray[np.float64], groups: Sequence[Hashable], name: str
) -> dict[Hashable, npt.NDArray[np.float64]]:
    """Return the samples of each group, groups in order of appearance."""
    if len(groups) != len(array):
        raise InputError(f"{name}: found {len(groups)} groups for {len(array)} samples")
    members: dict[Hashable, list[float]] = {}
    for key, value in zip(groups, array.tolist(), strict=True):
        members.setdefault(key, []).append(value)
    return {key: np.asarray(value) for key, value in members.items()}


def _grouped(values: Values, groups: Sequence[Hashable] | None, name: str) -> Groups:
    array = _positive(values, name)
    return [array] if groups is None else list(_by_group(array, groups, name).values())


def _median_of(groups: Groups) -> float:
    return float(np.median(np.concatenate(groups)))


def _independent(groups: Groups) -> int:
    """Return how many observations can be taken as independent: groups, or samples of the one."""
    return len(groups) if len(groups) > 1 else len(groups[0])


def _resampled_medians(
    groups: Groups, resamples: int, generator: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Return medians of bootstrap samples: groups with replacement, then samples inside them."""
    sizes = np.array([len(group) for group in groups])
    table = np.full((len(groups), sizes.max()), np.inf)
    for row, group in zip(table, groups, strict=True):
        row[: len(group)] = group
    chosen = generator.integers(len(groups), size=(resamples, len(groups)))
    inside = generator.random((resamples, len(groups), table.shape[1]))
    picks = (inside * sizes[chosen][..., None]).astype(np.intp)
    drawn = table[chosen[..., None], picks]
    # A group that is shorter than the table's width yields only as many samples as it has.
    drawn[np.arange(table.shape[1]) >= sizes[chosen][..., None]] = np.inf
    ordered = np.sort(drawn.reshape(resamples, -1), axis=1)
    counts = sizes[chosen].sum(axis=1)
    rows = np.arange(resamples)
    middle = ordered[rows, (counts - 1) // 2] + ordered[rows, counts // 2]
    return np.asarray(middle / 2)


def _interval(
    drawn: npt.NDArray[np.float64], units: int, degrees: int, confidence: float
) -> tuple[float, float]:
    """Return the expanded percentile interval; one observation bounds nothing.

    ``units`` is the number of independent observations of the smaller side, ``degrees`` the degrees
    of freedom of both together.
    """
    if units < 2:
        return 0.0, math.inf
    tail = (1 - confidence) / 2
    widened = math.sqrt(units / (units - 1)) * _student_quantile(1 - tail, degrees)
    level = NormalDist().cdf(-widened)
    low, high = np.quantile(drawn, [level, 1 - level])
    return float(low), float(high)


def _student_quantile(probability: float, degrees: int) -> float:
    """Return the quantile (above the median) of Student's distribution, by bisection."""
    low, high = 0.0, 1.0
    while _student_cdf(high, degrees) < probability:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _student_cdf(middle, degrees) < probability else (low, middle)
    return (low + high) / 2


def _student_cdf(t: float, degrees: int) -> float:
    """Return P(T <= t), t >= 0: the finite series of Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    angle = math.atan(t / math.sqrt(degrees))
    square = math.cos(angle) ** 2
    term = total = 1.0 if degrees % 2 == 0 else math.cos(angle)
    for k in range(2 if degrees % 2 == 0 else 3, degrees - 1, 2):
        term *= square * (k - 1) / k
        total += term
    if degrees % 2 == 0:
        central = math.sin(angle) * total
    else:
        inner = 0.0 if degrees == 1 else math.sin(angle) * total
        central = 2 / math.pi * (angle + inner)
    return 0.5 + central / 2
