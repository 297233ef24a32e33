"""The median of each point of a figure, with quartiles or a bootstrap interval."""

from __future__ import annotations

import math
from typing import Final, Literal

import numpy as np
import pandas as pd

from harness.report.charts.chart import in_order
from harness.report.charts.select import Selection
from harness.report.ratios import groups_of, median_interval
from harness.report.summary import statistics_of
from harness.statistics import bootstrap_median

Spread = Literal["quartiles", "interval"]

WORDS: Final[dict[Spread, str]] = {
    "quartiles": "over the quartiles",
    "interval": "over the 95 % bootstrap interval of the median",
}
"""What whiskers and bands reach over, as captions say it."""


def medians(selection: Selection, keys: tuple[str, ...], spread: Spread) -> pd.DataFrame:
    """Return ``n``, ``median``, ``low`` and ``high`` of each point.

    Args:
        selection: the samples.
        keys: the roles that tell points apart.
        spread: what ``low`` and ``high`` are; NaN where one sample says nothing of it.
    """
    rows = selection.rows
    is_stored = bool((rows["n"] > 1).any())
    if spread == "quartiles" and not is_stored:
        found = _quartiles(rows, keys)
    else:
        of_point = _stored if is_stored else _bootstrap
        found = pd.DataFrame(
            [
                (*key, *of_point(part, spread, selection.spec.value))
                for key, part in rows.groupby(list(keys), sort=False)
            ],
            columns=[*keys, "n", "median", "low", "high"],
        )
    return in_order(found, selection)


def center(points: pd.DataFrame) -> str:
    """Return what captions call the drawn number: a median, unless each is of one sample alone."""
    return "median" if (points["n"] > 1).any() else "value"


def _quartiles(rows: pd.DataFrame, keys: tuple[str, ...]) -> pd.DataFrame:
    groups = rows.groupby(list(keys), sort=False)["number"]
    found = groups.quantile(np.array([0.5, 0.25, 0.75])).unstack()
    found.columns = pd.Index(["median", "low", "high"])
    sizes = groups.size()
    found.loc[sizes < 2, ["low", "high"]] = math.nan
    found.insert(0, "n", sizes)
    table: pd.DataFrame = found.reset_index()
    return table


def _bootstrap(rows: pd.DataFrame, *_: object) -> tuple[float, ...]:
    low, high = bootstrap_median(rows["number"].to_numpy(), groups_of(rows))
    ends = (low, high) if math.isfinite(high) else (math.nan, math.nan)
    return len(rows), float(rows["number"].median()), *ends


def _stored(rows: pd.DataFrame, spread: Spread, quantity: str) -> tuple[float, ...]:
    """Return the statistics of a point whose source kept them without the samples."""
    if quantity != "value":
        return float(rows["n"].sum()), float(rows["number"].median()), math.nan, math.nan
    n, median, q25, q75, _ = statistics_of(rows)
    if spread == "interval":
        _, q25, q75 = median_interval(rows)
    ends = (q25, q75) if math.isfinite(q75) and math.isfinite(q25) else (math.nan, math.nan)
    return n, median, *ends
