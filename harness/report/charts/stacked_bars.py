"""Stacked bars: where the time of each x and series goes, phase by phase, with the total on top."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.errors import InputError
from harness.report import house_style as style
from harness.report.charts import axes as ax
from harness.report.charts import layout
from harness.report.charts.chart import Chart, chart, in_order
from harness.report.charts.grouped_bars import FILLED, place, write_gaps
from harness.report.charts.layout import Look
from harness.report.charts.medians import center
from harness.report.charts.select import Selection, as_labelled
from harness.report.decomposition import phases
from harness.units import digits

HEIGHT: Final = 1.6
BAR: Final = 0.115
"""Inches that a bar needs, so that a letter fits below it."""
KEYS: Final = ("panel", "x", "series")


def plan(selection: Selection) -> Chart:
    """Return the figure with the median seconds of each phase of each bar.

    Raises:
        InputError: no sample states phases.
    """
    rows = selection.rows
    found = [
        (*key, len(part), phase, seconds)
        for key, part in rows.groupby(list(KEYS), sort=False)
        for phase, seconds in phases(part).items()
    ]
    if not found:
        raise InputError(f"figure {selection.spec.name}: no sample states phases")
    points = pd.DataFrame(found, columns=[*KEYS, "n", "phase", "median"])
    order = as_labelled(list(dict.fromkeys(points["phase"])), selection.spec)
    points = points.sort_values("phase", key=lambda names: names.map(order.index), kind="stable")
    points["total"] = points.groupby(list(KEYS), sort=False)["median"].transform("sum")
    shown = f"Each phase at its {center(points)}; on top their sum; less is better."
    shown += ax.scales_note(points, ["total"])
    return chart(selection, in_order(points, selection), shown)


def draw(chart: Chart) -> Figure:
    """Draw a figure of stacked bars."""
    groups, series = chart.values("x"), chart.values("series")
    names = list(dict.fromkeys(chart.points["phase"]))
    look = layout.looks(as_labelled(names, chart.selection.spec))
    bars = len(groups) * len(series)
    shape = layout.shape(len(chart.panels), max(1.0, bars * BAR / FILLED))
    ticks = ax.Ticks.of(chart, "x", shape.inner / len(groups))
    labels = _short(chart, shape.inner * FILLED / bars)
    frame = layout.frame(
        chart,
        shape,
        HEIGHT,
        ticks.room + (ax.TICKS if labels else 0.0),
        handles=[layout.patch(look[name], chart.selection.name(name)) for name in look],
        key=_key(chart, labels),
    )
    scaled, title = ax.scaled(chart, ["median", "total"])
    tops = ax.tops(scaled, chart.panels, ["total"])
    for axes, panel, top in zip(frame.axes, chart.panels, tops, strict=True):
        points = scaled[scaled["panel"] == panel]
        _draw_stacks(axes, points, chart, look)
        write_gaps(axes, chart, panel)
        angle, over = _totals(axes, scaled, bars)
        ax.limit_heights(axes, points, top, over, chart)
        _write_totals(axes, points, chart, angle)
        _put_names(axes, chart, ticks, labels)
    ax.title_heights(frame, title)
    return frame.figure


def _draw_stacks(axes: Axes, points: pd.DataFrame, chart: Chart, look: Mapping[str, Look]) -> None:
    width = FILLED / len(chart.values("series")) * 0.9
    begins: dict[tuple[Any, Any], float] = {}
    for phase in look:
        for _, point in points[points["phase"] == phase].iterrows():
            key = point["x"], point["series"]
            axes.bar(
                place(chart, *key),
                point["median"],
                bottom=begins.get(key, 0.0),
                width=width,
                color=look[phase].color,
                hatch=look[phase].hatch,
                edgecolor=look[phase].edge,
                linewidth=0.4,
            )
            begins[key] = begins.get(key, 0.0) + point["median"]


def _totals(axes: Axes, points: pd.DataFrame, bars: int) -> tuple[int, float]:
    """Return the angle of the totals and the inches they take over a bar."""
    texts = [digits(total) for total in points["total"]]
    return ax.turned(texts, ax.inches(axes)[0] * FILLED / bars)


def _write_totals(axes: Axes, points: pd.DataFrame, chart: Chart, angle: int) -> None:
    for _, point in points.drop_duplicates(subset=["x", "series"]).iterrows():
        where = place(chart, point["x"], point["series"])
        ax.write_over(axes, where, point["total"], digits(point["total"]), angle)


def _short(chart: Chart, slot: float) -> list[str]:
    """Return what stands below each series' bar: its name, or a letter where space is short."""
    if chart.selection.spec.series is None:
        return []
    names = [chart.selection.label("series", value) for value in chart.values("series")]
    fit = max(map(style.text_width, names)) + 0.06 <= slot
    return names if fit else initials(names)


def _key(chart: Chart, labels: Sequence[str]) -> str:
    """Return what the letters below the bars stand for."""
    names = [chart.selection.label("series", value) for value in chart.values("series")]
    pairs = zip(labels, names, strict=False)
    return ", ".join(f"{short} = {name}" for short, name in pairs if short != name)


def _put_names(axes: Axes, chart: Chart, ticks: ax.Ticks, labels: Sequence[str]) -> None:
    """Write the series below their bars, and x below these."""
    ticks.put(axes)
    if not labels:
        return
    if ticks.labels:
        axes.tick_params(axis="x", pad=2 + ax.TICKS * 72 * 0.75)
    for x in chart.values("x"):
        for value, label in zip(chart.values("series"), labels, strict=True):
            axes.annotate(
                label,
                (place(chart, x, value), 0),
                xycoords=axes.get_xaxis_transform(),
                xytext=(0, -2),
                textcoords="offset points",
                ha="center",
                va="top",
            )


def initials(names: Sequence[str]) -> list[str]:
    """Return the shortest beginnings that tell names apart, in capitals; numbers if none do."""
    for length in (1, 2, 3):
        short = [name[:length].capitalize() for name in names]
        if len(set(short)) == len(names):
            return short
    return [str(number) for number in range(1, len(names) + 1)]
