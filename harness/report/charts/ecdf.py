"""ECDF: the share of samples at or below each value, one step line for each series."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from harness.report.charts import axes as ax
from harness.report.charts import layout
from harness.report.charts.chart import Chart, chart, in_order
from harness.report.charts.lines import handles
from harness.report.charts.select import Selection

HEIGHT: Final = 1.6
INNER: Final = 1.6
KEYS: Final = ["panel", "series"]
LISTED: Final = (0.5, 0.9, 0.95, 0.99, 1.0)
"""Shares whose values the tables for people hold."""


def plan(selection: Selection) -> Chart:
    """Return the figure with each sample's value and the share of samples up to it."""
    rows = selection.rows[[*KEYS, "number"]].rename(columns={"number": "value"})
    rows = rows.sort_values("value", kind="stable")
    groups = rows.groupby(KEYS, sort=False)["value"]
    points = rows.assign(
        n=groups.transform("size"), share=(groups.cumcount() + 1) / groups.transform("size")
    )
    points = in_order(points, selection)
    shown = f"{selection.quantity.label}: share of the samples at or below each value."
    return chart(selection, points, shown, in_order(_listed(points), selection), per="line")


def _listed(points: pd.DataFrame) -> pd.DataFrame:
    """Return for each series the values that the stated shares of its samples do not exceed."""
    found = []
    for key, part in points.groupby(KEYS, sort=False):
        values = part["value"].to_numpy(dtype=float)
        for share in LISTED:
            first = int(np.searchsorted(part["share"].to_numpy(dtype=float), share - 1e-12))
            found.append((*key, len(part), share, values[first]))
    listed: pd.DataFrame = pd.DataFrame(found, columns=[*KEYS, "n", "share", "value"])
    return listed


def draw(chart: Chart) -> Figure:
    """Draw a figure of step lines."""
    shape = layout.shape(len(chart.panels), INNER)
    look = layout.looks(chart.values("series"), lines=True)
    below = ax.TICKS + ax.TITLE + 0.06
    unmarked = {value: item.unmarked for value, item in look.items()}
    frame = layout.frame(chart, shape, HEIGHT, below, handles=handles(chart, unmarked))
    scaled, title = ax.scaled(chart, ["value"])
    for axes, panel in zip(frame.axes, chart.panels, strict=True):
        points = scaled[scaled["panel"] == panel]
        for value, part in points.groupby("series", sort=False):
            # A step from zero to the first share, as no sample lies below the first.
            axes.plot(
                [part["value"].iloc[0], *part["value"]],
                [0.0, *part["share"]],
                drawstyle="steps-post",
                color=look[value].color,
                dashes=look[value].dashes or (None, None),
                linewidth=1.1,
            )
        axes.set_ylim(0, 1.02)
        ax.number_across(axes, chart, title)
    ax.title_heights(frame, "Share of samples")
    return frame.figure
