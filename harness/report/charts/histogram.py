"""Histograms: how often each whole number stands in the lists that samples noted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from harness.errors import InputError
from harness.report.charts import axes as ax
from harness.report.charts import layout
from harness.report.charts.chart import Chart, chart, in_order, role_columns
from harness.report.charts.layout import Look
from harness.report.charts.select import Selection
from harness.units import digits

HEIGHT: Final = 1.45
INNER: Final = 1.9
FILLED: Final = 0.84
"""Share of a number's place that its bars fill."""
MOST_BARS: Final = 40
"""Numbers side by side; beyond, a bar is for several."""
WIDTHS: Final = tuple(step * 10**power for power in range(12) for step in (1, 2, 5))
KEYS: Final = ["panel", "series"]


def plan(selection: Selection) -> Chart:
    """Return the figure with count and share of each number, over all samples of a series.

    Raises:
        InputError: a list holds a number that is not whole.
    """
    rows, quantity = selection.rows, selection.quantity
    for noted, case in zip(rows["number"], rows["case"], strict=True):
        _require_whole(noted, f"figure {selection.spec.name}: {case}: {quantity.name}")
    joined = {
        key: (len(group), np.concatenate(list(group["number"])).astype(np.int64))
        for key, group in rows.groupby(KEYS, sort=False)
    }
    first, width = bins([numbers for _, numbers in joined.values()])
    parts = [_counts(key, *item, first, width) for key, item in joined.items()]
    points = in_order(pd.concat(parts, ignore_index=True), selection)
    begin = "the number below it" if width == 1 else f"the {width} numbers from the one below it"
    shown = f"{quantity.label}: a bar is the share of {begin}; triangle: the mean."
    shown += ax.scales_note(points, ["share"])
    return chart(selection, points, shown, points.drop(columns="width"), per="series")


def _require_whole(numbers: npt.NDArray[np.float64], where: str) -> None:
    broken = np.flatnonzero(numbers != np.round(numbers))
    if len(broken):
        value = numbers[broken[0]]
        raise InputError(f"{where}[{broken[0]}]: found {value:g}, expected a whole number")


def bins(lists: Sequence[Sequence[int] | npt.NDArray[np.int64]]) -> tuple[int, int]:
    """Return the first number of the first bar, and how many numbers a bar is for."""
    low = min(int(min(numbers)) for numbers in lists)
    high = max(int(max(numbers)) for numbers in lists)
    width = next(step for step in WIDTHS if high // step - low // step < MOST_BARS)
    return low // width * width, width


def _counts(
    key: Any, n: int, numbers: npt.NDArray[np.int64], first: int, width: int
) -> pd.DataFrame:
    """Return the bars of one series; a number that it never has in between has a count of 0."""
    counts = np.bincount((numbers - first) // width)
    roles = role_columns(KEYS, key, len(counts))
    columns = {
        "n": n,
        "number": first + width * np.arange(len(counts)),
        "count": counts,
        "share": counts / len(numbers),
        "mean": numbers.mean(),
        "width": width,
    }
    bars: pd.DataFrame = pd.DataFrame({**roles, **columns})
    return bars


def draw(chart: Chart) -> Figure:
    """Draw a figure of bars over whole numbers."""
    shape = layout.shape(len(chart.panels), INNER)
    look = layout.looks(chart.values("series"))
    below = ax.TICKS + ax.TITLE + 0.06
    frame = layout.frame(chart, shape, HEIGHT, below, handles=_handles(chart, look), above=0.06)
    percent = chart.points.assign(median=100 * chart.points["share"])
    tops = ax.tops(percent, chart.panels, ["median"])
    for axes, panel, top in zip(frame.axes, chart.panels, tops, strict=True):
        points = percent[percent["panel"] == panel]
        _draw_bars(axes, points, chart, look)
        ax.limit_heights(axes, points, top, 0.0, chart)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True))
        axes.xaxis.set_major_formatter(ax.compact)
        axes.set_xlabel(chart.selection.quantity.column, labelpad=2)
    ax.title_heights(frame, f"{chart.selection.name('share').capitalize()}, %")
    return frame.figure


def _handles(chart: Chart, look: dict[Any, Look]) -> list[Artist]:
    """Return the legend: each series with its mean; of several panels the means are in the table.

    A figure without series has its mean alone there.
    """
    found: list[Artist] = []
    for value, part in chart.points.groupby("series", sort=False):
        mean = f"mean {digits(float(part['mean'].iloc[0]))}" if len(chart.panels) == 1 else ""
        name = chart.selection.label("series", value) if chart.selection.spec.series else ""
        text = ", ".join(filter(None, [name, mean]))
        found += [layout.patch(look[value], text)] if text else []
    return found


def _draw_bars(axes: Axes, points: pd.DataFrame, chart: Chart, look: dict[Any, Look]) -> None:
    series = chart.values("series")
    for value, part in points.groupby("series", sort=False):
        unit = float(part["width"].iloc[0])
        thick = FILLED * unit / len(series)
        shift = (series.index(value) - (len(series) - 1) / 2) * thick
        item = look[value]
        axes.bar(
            part["number"] + shift,
            part["median"],
            width=thick * 0.94,
            color=item.color,
            hatch=item.hatch,
            edgecolor=item.edge,
            linewidth=0.4,
        )
        axes.plot(
            part["mean"].iloc[:1],
            [1.0],
            transform=axes.get_xaxis_transform(),
            marker="v",
            markersize=4,
            color=item.color,
            markeredgecolor=item.edge,
            markeredgewidth=0.4,
            linestyle="",
            clip_on=False,
        )
