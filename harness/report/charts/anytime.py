"""Anytime curves: the best that was found so far over time, as median and quartiles of samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from harness.errors import InputError
from harness.report.charts import axes as ax
from harness.report.charts import layout
from harness.report.charts.chart import Chart, chart, in_order, role_columns, some_of_each
from harness.report.charts.lines import HEIGHTS, draw_line, handles, limit_lines
from harness.report.charts.quantity import Quantity
from harness.report.charts.select import Selection
from harness.report.charts.steps import Numbers, Steps, common_places, evenly, value_at
from harness.units import scale_of

CURVE: Final = "curve"
"""Where in a record's extra a benchmark notes ``[[seconds, best so far], …]``."""
HEIGHT: Final = 1.6
INNER: Final = 1.6
MOST_TIMES: Final = 400
MOST_LISTED: Final = 10
"""Times of each series that the tables for people hold."""
KEYS: Final = ["panel", "series"]


def plan(selection: Selection) -> Chart:
    """Return the figure with median and quartiles at each time at which a sample improved.

    A series begins when all its samples have found something: before, a median over those that
    have would flatter. A sample that has ended keeps its best.

    Raises:
        InputError: no sample has a curve, or one is no curve of the best so far.
    """
    where = f"figure {selection.spec.name}"
    rows = selection.rows[selection.rows["extra"].map(_has_curve)]
    if rows.empty:
        raise InputError(f"{where}: no sample has extra.{CURVE} = [[seconds, best so far], …]")
    curves = [
        _curve(noted[CURVE], f"{where}: {case}")
        for noted, case in zip(rows["extra"], rows["case"], strict=True)
    ]
    _require_one_direction(curves, where)
    found = _points(rows.assign(curve=curves), max(float(curve[-1, 0]) for curve in curves))
    label = selection.spec.labels.get("value", "Best so far")
    shown = f"{label} over time: median of the samples, band over the quartiles."
    named = replace(selection, quantity=Quantity("value", label, ""))
    shown += ax.scales_note(found, HEIGHTS)
    points = in_order(found, selection)
    return chart(named, points, shown, some_of_each(points, KEYS, MOST_LISTED), per="line")


def _has_curve(noted: Any) -> bool:
    return isinstance(noted, dict) and CURVE in noted


def _curve(noted: Any, where: str) -> Steps:
    """Return a sample's curve as an array of (seconds, value)."""
    try:
        curve = np.asarray(noted, dtype=np.float64)
    except (TypeError, ValueError):
        curve = np.empty(0)
    is_fine = curve.ndim == 2 and curve.shape[1:] == (2,) and len(curve) > 0
    if not is_fine or not np.isfinite(curve).all() or (np.diff(curve[:, 0]) < 0).any():
        raise InputError(f"{where}: extra.{CURVE} is no list of [seconds, value] in order of time")
    return curve


def _require_one_direction(curves: Sequence[Steps], where: str) -> None:
    """Refuse curves of which some rise and some fall: they are not all the best so far."""
    rises = any((np.diff(curve[:, 1]) > 0).any() for curve in curves)
    falls = any((np.diff(curve[:, 1]) < 0).any() for curve in curves)
    if rises and falls:
        raise InputError(
            f"{where}: extra.{CURVE} rises and falls; expected the best so far, which only ever "
            "improves"
        )


def _points(rows: pd.DataFrame, end: float) -> pd.DataFrame:
    """Return the statistics of each series at its times, up to ``end`` seconds."""
    parts = []
    for (panel, series), part in rows.groupby(KEYS, sort=False):
        curves = list(part["curve"])
        times = _times(curves, end)
        values = np.array([value_at(curve, times) for curve in curves])
        median, low, high = np.quantile(values, [0.5, 0.25, 0.75], axis=0)
        columns = {"seconds": times, "median": median, "low": low, "high": high}
        roles = role_columns(KEYS, (panel, series), len(times))
        parts.append(pd.DataFrame({"n": len(curves), **columns, **roles}))
    joined: pd.DataFrame = pd.concat(parts, ignore_index=True)
    return joined


def _times(curves: Sequence[Steps], end: float) -> Numbers:
    """Return when any sample improves, from when all have found something, at most so many."""
    times = common_places(curves, end)
    return times[evenly(len(times), MOST_TIMES)]


def draw(chart: Chart) -> Figure:
    """Draw a figure of anytime curves."""
    shape = layout.shape(len(chart.panels), INNER)
    look = layout.looks(chart.values("series"), lines=True)
    unmarked = {value: item.unmarked for value, item in look.items()}
    below = ax.TICKS + ax.TITLE + 0.06
    frame = layout.frame(chart, shape, HEIGHT, below, handles=handles(chart, unmarked))
    scale, unit = scale_of(float(chart.points["seconds"].max()), "seconds")
    for axes, panel in zip(frame.axes, chart.panels, strict=True):
        for value, part in chart.of_panel(panel).groupby("series", sort=False):
            draw_line(axes, part, list(part["seconds"] / scale), unmarked[value], steps=True)
        limit_lines(axes, chart)
        ax.number_across(axes, chart, f"{chart.selection.name('time').capitalize()}, {unit}")
    ax.share_heights(frame, chart, HEIGHTS)
    ax.title_heights(frame, chart.selection.quantity.label)
    return frame.figure
