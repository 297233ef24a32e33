"""Scatter: two quantities of each case as one dot, with their rank correlation."""

from __future__ import annotations

from typing import Final

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from harness.errors import InputError
from harness.report import house_style as style
from harness.report.charts import axes as ax
from harness.report.charts import layout
from harness.report.charts.chart import Chart, chart, in_order
from harness.report.charts.lines import limit_lines
from harness.report.charts.ranks import kendall, spearman
from harness.report.charts.select import Selection

HEIGHT: Final = 1.7
INNER: Final = 1.9


def plan(selection: Selection) -> Chart:
    """Return the figure with the medians of both quantities of each case.

    Raises:
        InputError: no sample has both quantities.
    """
    rows = selection.rows
    groups = rows[rows["across"].notna()].groupby(["panel", "series", "case"], sort=False)
    points = groups.agg(
        n=("number", "size"), across=("across", "median"), median=("number", "median")
    )
    if points.empty or selection.across is None:
        spec = selection.spec
        raise InputError(f"figure {spec.name}: no sample has both {spec.x} and {spec.value}")
    down, across = selection.quantity.label, selection.across.label
    shown = (
        f"{down} over {across}: a dot a case, at its medians. ρ: Spearman's rank correlation, "
        "τ: Kendall's (tau-b), n: cases."
    )
    return chart(selection, in_order(points.reset_index(), selection), shown, per="dot")


def correlation_text(points: pd.DataFrame) -> str:
    """Return what is written over a panel, such as ``ρ = 0.93, τ = 0.81, n = 40``."""
    sides = points["across"].to_numpy(dtype=float), points["median"].to_numpy(dtype=float)
    shown = [
        f"{name} = {_two(value)}"
        for name, value in (("ρ", spearman(*sides)), ("τ", kendall(*sides)))
    ]
    return ", ".join([*shown, f"n = {len(points)}"])


def _two(value: float) -> str:
    return "–" if value != value else f"{value:.2f}"


def draw(chart: Chart) -> Figure:
    """Draw a figure of dots.

    Raises:
        InputError: the figure names no ``x``.
    """
    across = chart.selection.across
    if across is None:
        raise InputError(f"figure {chart.selection.spec.name}: scatter needs x, a quantity")
    shape = layout.shape(len(chart.panels), INNER)
    look = layout.looks(chart.values("series"), lines=True)
    below = ax.TICKS + ax.TITLE + 0.06
    frame = layout.frame(
        chart, shape, HEIGHT, below, handles=_handles(chart, look), above=style.LINE + 0.04
    )
    scale, across_title = across.axis(float(chart.points["across"].abs().max()))
    scaled, title = ax.scaled(chart, ["median"])
    scaled = scaled.assign(across=scaled["across"] / scale)
    for axes, panel in zip(frame.axes, chart.panels, strict=True):
        points = scaled[scaled["panel"] == panel]
        for value, part in points.groupby("series", sort=False):
            _draw_dots(axes, part, look[value])
        text = correlation_text(points)
        axes.annotate(text, (0, 1), (0, 2), "axes fraction", "offset points", va="bottom")
        limit_lines(axes, chart)
        ax.number_across(axes, chart, across_title)
    ax.title_heights(frame, title)
    return frame.figure


def _draw_dots(axes: Axes, points: pd.DataFrame, look: layout.Look) -> None:
    axes.plot(
        points["across"],
        points["median"],
        linestyle="",
        color=look.color,
        marker=look.marker,
        markersize=3.6,
        markeredgecolor="white",
        markeredgewidth=0.4,
    )


def _handles(chart: Chart, look: dict[object, layout.Look]) -> list[Artist]:
    if chart.selection.spec.series is None:
        return []
    return [
        Line2D(
            [],
            [],
            linestyle="",
            color=item.color,
            marker=item.marker,
            markersize=3.6,
            label=chart.selection.label("series", value),
        )
        for value, item in look.items()
    ]
