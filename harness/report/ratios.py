"""The ratio between the samples of two cases, by the strongest method that their form allows."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Final

import numpy as np
import pandas as pd

from harness.statistics import MINIMUM_SAMPLES, Ratio, paired_ratio, ratio, summary

MOST_SAMPLES: Final = 1000
"""Samples a side that are resampled; of more, as many are drawn, which only widens the interval."""

NOTCH: Final = 1.57
"""McGill, Tukey and Larsen, "Variations of Box Plots" (1978): the median of n samples is uncertain
by NOTCH * IQR / sqrt(n), at about 95 % confidence."""


def ratio_of(a: pd.DataFrame, b: pd.DataFrame) -> Ratio:
    """Return median(a) / median(b) of two cases' usable samples, with an interval.

    Samples that were interleaved in one run are paired by round; others are resampled by process
    (or by round where there was one process). Results that were stored without samples are
    compared by the intervals of their medians, which is the weakest of the three.

    Raises:
        InputError: a sample is not positive.
    """
    if (a["n"] > 1).any() or (b["n"] > 1).any():
        return _of_stored_statistics(a, b)
    a, b = _thinned(a), _thinned(b)
    if _shared_rounds(a, b) >= MINIMUM_SAMPLES:
        return paired_ratio(a["value"].to_numpy(), b["value"].to_numpy(), _rounds(a), _rounds(b))
    return ratio(a["value"].to_numpy(), b["value"].to_numpy(), _groups(a), _groups(b))


def median_interval(rows: pd.DataFrame) -> tuple[float, float, float]:
    """Return a case's median and an interval for it, from samples or from stored statistics."""
    stored = rows[rows["n"] > 1]
    if stored.empty:
        found = summary(rows["value"].to_numpy())
        n, median, q25, q75 = found.n, found.median, found.q25, found.q75
    else:
        row = stored.iloc[-1]
        n, median, q25, q75 = int(row["n"]), row["value"], row["q25"], row["q75"]
        if not math.isnan(row["low"]):
            return float(median), float(row["low"]), float(row["high"])
    notch = math.inf if math.isnan(q25) or n < 2 else NOTCH * (q75 - q25) / math.sqrt(n)
    return float(median), float(median - notch), float(median + notch)


def _of_stored_statistics(a: pd.DataFrame, b: pd.DataFrame) -> Ratio:
    median_a, low_a, high_a = median_interval(a)
    median_b, low_b, high_b = median_interval(b)
    return Ratio(
        value=median_a / median_b if median_b else math.inf,
        low=max(low_a, 0.0) / high_b if high_b > 0 else 0.0,
        high=high_a / low_b if low_b > 0 else math.inf,
        n_a=int(a["n"].sum()),
        n_b=int(b["n"].sum()),
        groups=1,
    )


def _thinned(rows: pd.DataFrame) -> pd.DataFrame:
    if len(rows) <= MOST_SAMPLES:
        return rows
    chosen = np.random.default_rng(0).choice(len(rows), MOST_SAMPLES, replace=False)
    thinned: pd.DataFrame = rows.iloc[np.sort(chosen)]
    return thinned


def _rounds(rows: pd.DataFrame) -> list[Hashable]:
    return list(zip(rows["run"], rows["round"], strict=True))


def _shared_rounds(a: pd.DataFrame, b: pd.DataFrame) -> int:
    """Return how many rounds of one run both sides have.

    asv and pytest take all samples of a case in a row: their rounds have nothing in common.
    """
    interleaved_a, interleaved_b = a[a["runner"] == "run"], b[b["runner"] == "run"]
    return len(set(_rounds(interleaved_a)) & set(_rounds(interleaved_b)))


def _groups(rows: pd.DataFrame) -> list[Hashable] | None:
    """Return the highest level that varies over the samples, or None if no level does."""
    processes: list[Hashable] = list(zip(rows["run"], rows["process"].fillna(0), strict=True))
    if len(set(processes)) > 1:
        return processes
    by_round = rows["round"].notna().all() and rows["round"].nunique() > 1
    return list(rows["round"]) if by_round else None
