"""The change that is worth a verdict, from the same code measured against itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from harness.report.ratios import rounds
from harness.report.table import usable, usable_twins
from harness.statistics import THRESHOLD_FLOOR, round_ratios, threshold_from_aa

Threshold = Callable[[str], float]
"""Benchmark to the change that is worth a verdict."""


def threshold_of(found: Mapping[str, float], floor: float) -> Threshold:
    """Return the function that gives ``floor`` for a benchmark that was not measured twice."""
    return lambda benchmark: found.get(benchmark, floor)


def twin_thresholds(samples: pd.DataFrame, floor: float) -> dict[str, float]:
    """Return benchmark to threshold, from the twins that a run measured beside their cases.

    A threshold is twice the largest distance of an A/A ratio from 1, and at least ``floor``.

    Args:
        samples: of one setting.
        floor: the least threshold.
    """
    twins = usable_twins(samples)
    with_twins = samples[samples["benchmark"].isin(set(twins["benchmark"]))]
    return _thresholds(with_twins, _twin_ratio, floor)


def thresholds_by_setting(samples: pd.DataFrame) -> dict[tuple[str, str], float]:
    """Return the change that counts, by setting and benchmark, where twins tell the noise."""
    return {
        (str(setting), benchmark): threshold
        for setting, rows in samples.groupby("setting", sort=False)
        for benchmark, threshold in twin_thresholds(rows, THRESHOLD_FLOOR).items()
    }


def aa_thresholds(samples: pd.DataFrame, floor: float) -> dict[str, float]:
    """Return benchmark to threshold, from runs of the same code: by twins, else by halves.

    The halves of a case are every other run where there are several runs, every other round where
    there is one, every other sample where there is one round.
    """
    return _thresholds(samples, _half_ratio, floor) | twin_thresholds(samples, floor)


def _thresholds(
    samples: pd.DataFrame, ratio_of: Callable[[pd.DataFrame], float | None], floor: float
) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for (benchmark, _), case in samples.groupby(["benchmark", "case"], sort=False):
        ratio = ratio_of(case)
        if ratio is not None:
            found.setdefault(str(benchmark), []).append(ratio)
    return {benchmark: threshold_from_aa(ratios, floor) for benchmark, ratios in found.items()}


def _twin_ratio(case: pd.DataFrame) -> float | None:
    """Return the median over the rounds of twin / case, or None where no round has both."""
    own, twins = _positive(usable(case)), _positive(usable_twins(case))
    own_rounds, twin_rounds = rounds(own), rounds(twins)
    if not set(own_rounds) & set(twin_rounds):
        return None
    values = twins["value"].to_list(), own["value"].to_list()
    return float(np.median(np.array(round_ratios(*values, twin_rounds, own_rounds))))


def _half_ratio(case: pd.DataFrame) -> float | None:
    """Return first half / second half of a case's samples, or None if it has one sample."""
    own = _positive(usable(case))
    if len(own) < 2:
        return None
    halves = _half(own)
    values = own["value"].to_numpy()
    return float(np.median(values[halves == 0]) / np.median(values[halves == 1]))


def _half(case: pd.DataFrame) -> Any:
    """Return 0 or 1 for each of at least two samples: the half it belongs to."""
    for level in ("run", "round"):
        codes, found = pd.factorize(case[level])
        if len(found) > 1:
            return codes % 2
    return np.arange(len(case)) % 2


def _positive(samples: pd.DataFrame) -> pd.DataFrame:
    positive: pd.DataFrame = samples[samples["value"] > 0]
    return positive
