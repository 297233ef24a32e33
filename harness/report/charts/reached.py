"""Time to accuracy: where the median of each series of a timeline first reaches thresholds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from harness.report.charts.select import Selection
from harness.report.charts.steps import Steps
from harness.units import quantity

KEYS: Final = ["panel", "series"]
NEVER: Final = "never"
MOST_WRITTEN: Final = 12
"""Thresholds of series that a caption states; more are in the table alone."""


def first_at(steps: Steps, threshold: float) -> float:
    """Return where a line first is at the threshold or above it, NaN if it never is."""
    high = np.flatnonzero(steps[:, 1] >= threshold)
    return float(steps[high[0], 0]) if len(high) else math.nan


def reached(
    rows: pd.DataFrame, medians: Mapping[Any, Steps], thresholds: Sequence[float]
) -> pd.DataFrame:
    """Return ``n``, ``threshold``, ``reached`` and ``of them`` of each series and threshold.

    Args:
        rows: the samples, with ``steps``.
        medians: the line of each panel and series.
        thresholds: in the unit of the values.

    Returns:
        ``reached`` is where the median first is there, NaN for never; ``of them`` counts the
        samples, out of ``n``, that ever are.
    """
    found = []
    for key, group in rows.groupby(KEYS, sort=False):
        for threshold in thresholds:
            ever = sum(not math.isnan(first_at(line, threshold)) for line in group["steps"])
            place = first_at(medians[key], threshold)
            found.append((*key, len(group), float(threshold), place, ever))
    columns = [*KEYS, "n", "threshold", "reached", "of them"]
    table: pd.DataFrame = pd.DataFrame(found, columns=columns)
    return table


def axis_floor(thresholds: Sequence[float]) -> float:
    """Return where the values' axis begins: what lies far below all thresholds tells nothing.

    0 where there are fewer than two of them, for then no scale is known.
    """
    if len(thresholds) < 2:
        return 0.0
    return max(0.0, 2 * min(thresholds) - max(thresholds))


def reached_text(table: pd.DataFrame, selection: Selection) -> str:
    """Return the caption's sentences on when the medians reach the thresholds."""
    shown = ", ".join(f"{value:g}" for value in selection.spec.thresholds)
    floor = axis_floor(selection.spec.thresholds)
    begin = f"Dotted: {shown}." + (f" The axis begins at {floor:g}." if floor else "")
    if len(table) > MOST_WRITTEN or table["panel"].nunique() > 1:
        return f"{begin} When medians reach them: in the table."
    parts = [
        f"{value:g}: {', '.join(_of(row, selection) for _, row in part.iterrows())}"
        for value, part in table.groupby("threshold", sort=False)
    ]
    return f"{begin} Medians reach {'; '.join(parts)}."


def _of(row: pd.Series[Any], selection: Selection) -> str:
    unit = selection.across.unit if selection.across else ""
    when = NEVER if math.isnan(row["reached"]) else quantity(row["reached"], unit)
    named = selection.spec.series is not None
    return f"{selection.label('series', row['series'])} {when}" if named else when
