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

    Samples that were interleaved, in one run or over commits, are paired by round; others are
    resampled by process (or by round where there was one process). Results that were stored without
    samples are compared by the intervals of their medians, which is the weakest of the three.

    Raises:
        InputError: a sample is not positive.
    """
    if (a["n"] > 1).any() or (b["n"] > 1).any():
        return _of_stored_statistics(a, b)
    a, b = _thinned(a), _thinned(b)
    rounds_a, rounds_b = rounds(a), rounds(b)
    if len(_interleaved(a, rounds_a) & _interleaved(b, rounds_b)) >= MINIMUM_SAMPLES:
        return paired_ratio(a["value"].to_numpy(), b["value"].to_numpy(), rounds_a, rounds_b)
    return ratio(a["value"].to_numpy(), b["value"].to_numpy(), groups_of(a), groups_of(b))


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
    n_a, n_b = int(a["n"].sum()), int(b["n"].sum())
    return Ratio(
        value=median_a / median_b if median_b else math.inf,
        low=max(low_a, 0.0) / high_b if high_b > 0 else 0.0,
        high=high_a / low_b if low_b > 0 else math.inf,
        n_a=n_a,
        n_b=n_b,
        groups=min(n_a, n_b),
    )


def _thinned(rows: pd.DataFrame) -> pd.DataFrame:
    if len(rows) <= MOST_SAMPLES:
        return rows
    chosen = np.random.default_rng(0).choice(len(rows), MOST_SAMPLES, replace=False)
    thinned: pd.DataFrame = rows.iloc[np.sort(chosen)]
    return thinned


def rounds(rows: pd.DataFrame) -> list[Hashable]:
    """Return what identifies the round of each sample: a repetition's rounds begin anew.

    Rounds of two results are the same one where they took turns in it.
    """
    parts = (np.nan_to_num(rows[name].to_numpy()).tolist() for name in ("seed", "repetition"))
    whose = rows["turns"].where(rows["turns"] != "", rows["run"])
    return list(zip(whose, *parts, rows["round"], strict=True))


def _interleaved(rows: pd.DataFrame, rounds: list[Hashable]) -> set[Hashable]:
    """Return the rounds in which contenders, or commits, took turns.

    asv by itself and pytest take all samples of a case in a row: their rounds have nothing in
    common.
    """
    return {key for key, turns in zip(rounds, rows["turns"], strict=True) if turns}


def groups_of(rows: pd.DataFrame) -> list[Hashable] | None:
    """Return the highest level that varies over the samples, or None if no level does."""
    processes: list[Hashable] = list(zip(rows["run"], rows["process"].fillna(0), strict=True))
    if len(set(processes)) > 1:
        return processes
    by_round = rows["round"].notna().all() and rows["round"].nunique() > 1
    return list(rows["round"]) if by_round else None
