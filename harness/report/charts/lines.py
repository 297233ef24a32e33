"""Lines: the median over x with a band, one line for each series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from harness.report.charts import axes as ax
from harness.report.charts import layout
from harness.report.charts.chart import Chart, chart
from harness.report.charts.layout import Look
from harness.report.charts.medians import WORDS, center, medians
from harness.report.charts.select import Selection

HEIGHT: Final = 1.6
INNER: Final = 1.6
KEYS: Final = ("panel", "x", "series")
HEIGHTS: Final = ("median", "high")


def plan(selection: Selection) -> Chart:
    """Return the figure with the median of each point and its interval."""
    points = medians(selection, KEYS, "interval")
    band = f", band {WORDS['interval']}" if points["low"].notna().any() else ""
    quantity = selection.quantity
    shown = f"{quantity.label}: line at the {center(points)}{band}{quantity.better}."
    return chart(selection, points, shown + ax.scales_note(points, HEIGHTS))


def draw(chart: Chart) -> Figure:
    """Draw a figure of lines."""
    series = chart.values("series")
    look = layout.looks(series, lines=True)
    shape = layout.shape(len(chart.panels), INNER)
    ticks = ax.Ticks.of(chart, "x", shape.inner / len(chart.values("x")))
    if _are_numbers(chart.values("x")):
        ticks = ax.Ticks(("",), ticks.title, 0)
    frame = layout.frame(chart, shape, HEIGHT, ticks.room, handles=handles(chart, look))
    scaled, title = ax.scaled(chart, ["median", "low", "high"])
    for axes, panel in zip(frame.axes, chart.panels, strict=True):
        _draw_lines(axes, scaled[scaled["panel"] == panel], chart, look)
        _number_across(axes, chart, ticks)
        limit_lines(axes, chart)
    ax.share_heights(frame, chart, HEIGHTS)
    ax.title_heights(frame, title)
    return frame.figure


def handles(chart: Chart, look: dict[Any, Look]) -> list[Artist]:
    """Return a legend's entry for each line; none where there is one without a name."""
    if chart.selection.spec.series is None:
        return []
    return [
        Line2D(
            [],
            [],
            color=item.color,
            marker=item.marker,
            markersize=3,
            linewidth=1.1,
            dashes=item.dashes or (None, None),
            label=chart.selection.label("series", value),
        )
        for value, item in look.items()
    ]


def draw_line(
    axes: Axes, points: pd.DataFrame, places: Sequence[float], look: Look, *, steps: bool = False
) -> None:
    """Draw the medians of one series and the band between ``low`` and ``high``."""
    axes.plot(
        places,
        points["median"],
        color=look.color,
        marker="" if steps else look.marker,
        markersize=3,
        linewidth=1.1,
        dashes=look.dashes or (None, None),
        drawstyle="steps-post" if steps else "default",
    )
    axes.fill_between(
        places,
        points["low"],
        points["high"],
        color=look.color,
        alpha=0.2,
        linewidth=0,
        step="post" if steps else None,
    )


def limit_lines(axes: Axes, chart: Chart) -> None:
    """Scale and number the vertical axis; a linear one begins at zero if that costs little."""
    if ax.is_log(chart, "y"):
        axes.set_yscale("log")
    low, high = axes.get_ylim()
    if not ax.is_log(chart, "y") and 0 < low < 0.5 * high:
        axes.set_ylim(0, high)
    ax.number(axes.yaxis, axes.get_ylim(), is_log=ax.is_log(chart, "y"))


def _draw_lines(axes: Axes, points: pd.DataFrame, chart: Chart, look: dict[Any, Look]) -> None:
    values = chart.values("x")
    for value, part in points.groupby("series", sort=False):
        ordered = part.sort_values("x") if _are_numbers(values) else part
        places = (
            ordered["x"].to_list()
            if _are_numbers(values)
            else [float(values.index(x)) for x in ordered["x"]]
        )
        draw_line(axes, ordered, places, look[value])


def _number_across(axes: Axes, chart: Chart, ticks: ax.Ticks) -> None:
    values = chart.values("x")
    if not _are_numbers(values):
        ticks.put(axes)
        return
    numbers = sorted(float(value) for value in values)
    ax.number_values(axes, numbers, is_log=ax.is_log(chart, "x"))
    axes.set_xlabel(ticks.title, labelpad=2)


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float | np.number) for value in values) and not any(
        isinstance(value, bool) for value in values
    )
