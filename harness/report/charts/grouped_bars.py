"""Grouped bars: a group for each value of x, a bar for each series, speed-ups written over them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report import house_style as style
from harness.report.charts import axes as ax
from harness.report.charts import layout
from harness.report.charts.chart import Chart, chart
from harness.report.charts.layout import Look
from harness.report.charts.medians import WORDS, center, medians
from harness.report.charts.select import Selection

HEIGHT: Final = 1.45
BAR: Final = 0.115
"""Inches that a bar needs, so that a speed-up fits over it, turned."""
MOST_WRITTEN: Final = 56
"""Bars over the page's width from which texts over them would touch."""
FILLED: Final = 0.84
"""Share of a group's place that its bars fill."""
KEYS: Final = ("panel", "x", "series")
HEIGHTS: Final = ["median", "low", "high"]


def plan(selection: Selection) -> Chart:
    """Return the figure with median, quartiles and speed-up of each bar."""
    points = medians(selection, KEYS, "quartiles")
    spec, quantity = selection.spec, selection.quantity
    whisker = f", whisker {WORDS['quartiles']}" if points["low"].notna().any() else ""
    shown = f"{quantity.label}: bar at the {center(points)}{whisker}{quantity.better}."
    if spec.base is not None:
        points = points.assign(speed_up=_speed_ups(points, selection))
        base = selection.label("series", spec.base)
        where = "Over the bars" if _are_written(points) else "In the table"
        what = "speed-up over" if quantity.is_speed else "how many times less than"
        shown += f" {where}: {what} {base}, of the {center(points)}s."
    return chart(selection, points, shown + ax.scales_note(points, HEIGHTS))


def _are_written(points: pd.DataFrame) -> bool:
    """Tell whether the bars of a panel are few enough for a text over each."""
    bars = points["x"].nunique() * points["series"].nunique()
    return "speed_up" in points and bars <= MOST_WRITTEN


def speed_up_text(ratio: float) -> str:
    """Return a speed-up as it stands over a bar, such as ``6.7x``."""
    return f"{ratio:.1f}x" if ratio >= 0.1 else f"{ratio:.1g}x"


def _speed_ups(points: pd.DataFrame, selection: Selection) -> pd.Series[float]:
    """Return how many times better each bar is than its group's base; NaN where there is none."""
    base = points[points["series"] == selection.spec.base].set_index(["panel", "x"])["median"]
    keys = pd.MultiIndex.from_frame(points[["panel", "x"]])
    bases = pd.Series(base.reindex(keys).to_numpy(), index=points.index)
    ratio = bases / points["median"]
    better: pd.Series[float] = 1 / ratio if selection.quantity.more_is_better else ratio
    return better


def draw(chart: Chart) -> Figure:
    """Draw a figure of grouped bars."""
    groups, series = chart.values("x"), chart.values("series")
    look = layout.looks(series)
    shape = layout.shape(len(chart.panels), max(1.0, len(groups) * len(series) * BAR / FILLED))
    ticks = ax.Ticks.of(chart, "x", shape.inner / len(groups))
    named = series if chart.selection.spec.series else ()
    handles = [layout.patch(look[item], chart.selection.label("series", item)) for item in named]
    frame = layout.frame(chart, shape, HEIGHT, ticks.room, handles=handles)
    scaled, title = ax.scaled(chart, HEIGHTS)
    tops = ax.tops(scaled, chart.panels, HEIGHTS)
    for axes, panel, top in zip(frame.axes, chart.panels, tops, strict=True):
        points = scaled[scaled["panel"] == panel]
        _draw_bars(axes, points, chart, look)
        ax.limit_heights(axes, points, top, _written(axes, chart)[1], chart)
        _write_speed_ups(axes, points, chart)
        write_gaps(axes, chart, panel)
        ticks.put(axes)
    ax.title_heights(frame, title)
    return frame.figure


def place(chart: Chart, x: Any, series: Any) -> float:
    """Return where a bar stands: groups are one apart."""
    values = chart.values("series")
    offset = values.index(series) - (len(values) - 1) / 2
    return float(chart.values("x").index(x) + offset * FILLED / len(values))


def _draw_bars(axes: Axes, points: pd.DataFrame, chart: Chart, look: Mapping[Any, Look]) -> None:
    width = FILLED / len(chart.values("series"))
    for value, part in points.groupby("series", sort=False):
        places = [place(chart, x, value) for x in part["x"]]
        axes.bar(
            places,
            part["median"],
            width=width * 0.94,
            color=look[value].color,
            hatch=look[value].hatch,
            edgecolor=look[value].edge,
            linewidth=0.4,
        )
        axes.vlines(places, part["low"], part["high"], color=style.BLACK, linewidth=0.9)


def _written(axes: Axes, chart: Chart) -> tuple[int, float]:
    """Return the angle of the speed-ups and the inches they take over a bar."""
    if not _are_written(chart.points):
        return 0, 0.0
    bars = len(chart.values("x")) * len(chart.values("series"))
    texts = [speed_up_text(ratio) for ratio in chart.points["speed_up"].dropna()]
    return ax.turned(texts, ax.inches(axes)[0] * FILLED / bars)


def _write_speed_ups(axes: Axes, points: pd.DataFrame, chart: Chart) -> None:
    if not _are_written(chart.points):
        return
    angle, _ = _written(axes, chart)
    shown = points[points["speed_up"].notna() & (points["series"] != chart.selection.spec.base)]
    for _, point in shown.iterrows():
        where = place(chart, point["x"], point["series"])
        text = speed_up_text(point["speed_up"])
        ax.write_over(axes, where, np.nanmax([point["median"], point["high"]]), text, angle)


def write_gaps(axes: Axes, chart: Chart, panel: Any) -> None:
    """Write why a bar is missing where it would stand."""
    gaps = chart.selection.gaps
    for _, gap in gaps[gaps["panel"] == panel].iterrows():
        axes.text(
            place(chart, gap["x"], gap["series"]),
            0.02,
            gap["status"],
            transform=axes.get_xaxis_transform(),
            ha="center",
            va="bottom",
            rotation=90,
            style="italic",
            color=style.GREY,
        )
