"""Axes of charts: scales, ticks, labels that are turned where they do not fit, texts over bars."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator

from harness.report import house_style as style
from harness.report.charts.chart import Chart
from harness.report.charts.layout import Frame

TITLE: Final = 0.16
"""Inches below axes for their title."""
TICKS: Final = 0.17
"""Inches below axes for numbers or labels on one line."""
TILT: Final = 40
"""Degrees by which labels are turned that do not fit side by side."""
MOST_LABEL: Final = 1.0
"""Inches that a turned label may take; the rest of a longer one is cut off."""
SAME_SCALE: Final = 4.0
"""Panels whose largest values differ by less share their scale."""
SHORT_SPAN: Final = 80
"""Ratio of an axis' ends below which powers of ten alone would be too few numbers."""
ENDS_ALONE: Final = 8
"""Up to so many values of a parameter, an axis numbers these and nothing between."""


@dataclass(frozen=True)
class Ticks:
    """The labels of a parameter's values below axes, one a place."""

    labels: tuple[str, ...]
    title: str
    angle: int

    @classmethod
    def of(cls, chart: Chart, role: str, slot: float) -> Ticks:
        """Return the labels of a role's values, which stand ``slot`` inches apart."""
        if chart.selection.parameter(role) is None:
            return cls((), "", 0)
        labels = tuple(chart.selection.label(role, value) for value in chart.values(role))
        fit = max(map(style.text_width, labels)) + 0.05 <= slot
        return cls(labels, chart.axis_title(role), 0 if fit else TILT)

    @property
    def room(self) -> float:
        """Inches that they take below the axes, with the axis' title."""
        return 0.06 + self.above_title + (TITLE if self.title else 0.0)

    @property
    def above_title(self) -> float:
        """Inches that the labels take."""
        if not self.labels:
            return 0.0
        longest = min(max(map(style.text_width, self.labels)), MOST_LABEL)
        return TICKS + (longest * math.sin(math.radians(TILT)) if self.angle else 0.0)

    def put(self, axes: Axes) -> None:
        """Write them below the axes, the first at 0, the next at 1, …"""
        turned: dict[str, Any] = (
            {"rotation": self.angle, "ha": "right", "rotation_mode": "anchor"} if self.angle else {}
        )
        shown = [style.shortened(label, MOST_LABEL) if turned else label for label in self.labels]
        axes.set_xticks(range(len(shown)))
        axes.set_xticklabels(shown, **turned)
        axes.tick_params(axis="x", length=0)
        axes.set_xlim(-0.5, max(len(shown), 1) - 0.5)
        axes.set_xlabel(self.title, labelpad=2)


def inches(axes: Axes) -> tuple[float, float]:
    """Return width and height of axes."""
    return float(axes.bbox.width / style.DPI), float(axes.bbox.height / style.DPI)


def scaled(chart: Chart, columns: Sequence[str]) -> tuple[pd.DataFrame, str]:
    """Return the points in the unit in which they are drawn, and the axis' title with it."""
    names = list(columns)
    values = chart.points[names].to_numpy(dtype=float)
    scale, title = chart.selection.quantity.axis(float(np.nanmax(np.abs(values))))
    return chart.points.assign(**{name: chart.points[name] / scale for name in names}), title


def tops(points: pd.DataFrame, panels: Sequence[Any], columns: Sequence[str]) -> list[float]:
    """Return where the panels' axes end: together, unless their values are too far apart."""
    reach = points[list(columns)].max(axis=1).groupby(points["panel"], sort=False).max()
    own = [float(reach.get(panel, 0.0)) for panel in panels]
    largest = max(own)
    return [largest if largest <= SAME_SCALE * top else top for top in own]


def scales_note(points: pd.DataFrame, columns: Sequence[str]) -> str:
    """Return what a caption says where the panels' axes do not end together."""
    panels = list(dict.fromkeys(points["panel"]))
    return " The panels' scales differ." if len(set(tops(points, panels, columns))) > 1 else ""


def limit_heights(axes: Axes, points: pd.DataFrame, top: float, over: float, chart: Chart) -> None:
    """Let bars begin at zero and end where ``over`` inches are left for a text over the tallest.

    On a logarithmic axis they begin at the power of ten below the smallest.
    """
    room = 1 - (over + 0.05) / inches(axes)[1]
    top = top or 1.0
    if "y" in chart.selection.spec.log and (points["median"] > 0).any():
        low = 10.0 ** math.floor(math.log10(points["median"][points["median"] > 0].min()) - 1e-9)
        axes.set_yscale("log")
        axes.set_ylim(low, low * (top / low) ** (1 / room))
        number(axes.yaxis, axes.get_ylim(), is_log=True)
    else:
        axes.set_ylim(0, top / room)
        number(axes.yaxis, (0, top / room), is_log=False)


def share_heights(frame: Frame, chart: Chart, columns: Sequence[str]) -> None:
    """Give panels one vertical axis, unless their values are too far apart to be seen in it."""
    if len(set(tops(chart.points, chart.panels, columns))) == 1:
        ends = [axes.get_ylim() for axes in frame.axes]
        for axes in frame.axes:
            axes.set_ylim(min(low for low, _ in ends), max(high for _, high in ends))


def title_heights(frame: Frame, title: str) -> None:
    """Write what the vertical axes mean beside the first of each row."""
    for axes in frame.axes[:: frame.columns]:
        axes.set_ylabel(title, labelpad=3)


def turned(texts: Sequence[str], slot: float) -> tuple[int, float]:
    """Return the angle at which texts over bars fit ``slot`` inches, and the height they take."""
    widest = max(map(style.text_width, texts), default=0.0)
    return (0, style.LINE) if widest + 0.02 <= slot else (90, widest)


def write_over(axes: Axes, x: float, y: float, text: str, angle: int) -> None:
    """Write a text over the end of a bar."""
    axes.annotate(
        text,
        (x, y),
        xytext=(0, 1.5),
        textcoords="offset points",
        ha="center",
        va="bottom",
        rotation=angle,
    )


def number(axis: Axis, ends: tuple[float, float], *, is_log: bool) -> None:
    """Number an axis; a logarithmic one that is short also between the powers of ten."""
    if is_log:
        is_short = ends[1] < SHORT_SPAN * ends[0]
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if is_short else (1,)))
        axis.set_minor_formatter(NullFormatter())
    else:
        axis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(compact)


def number_values(axes: Axes, values: Sequence[float], *, is_log: bool) -> None:
    """Number the horizontal axis: at the values where few are given, else as numbers go."""
    if is_log:
        axes.set_xscale("log")
    number(axes.xaxis, axes.get_xlim(), is_log=is_log)
    texts = [compact(value) for value in values]
    ends = np.log(values) if is_log else np.asarray(values, dtype=float)
    if len(values) < 2 or len(values) > ENDS_ALONE:
        return
    places = inches(axes)[0] * 0.9 * (ends - ends[0]) / (ends[-1] - ends[0])
    widths = [style.text_width(text) for text in texts]
    rooms = zip(np.diff(places), widths, widths[1:], strict=False)
    if all(gap >= (left + right) / 2 + 0.05 for gap, left, right in rooms):
        axes.set_xticks(list(values), labels=texts)
        axes.xaxis.set_minor_locator(NullLocator())


def compact(value: float, _: object = None) -> str:
    """Return a number on an axis in six letters or so."""
    if value == round(value) and abs(value) < 1e5:
        return f"{value:,.0f}"
    for scale, least, letter in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e3, 1e4, "k")):
        if abs(value) >= least:
            return f"{value / scale:g}{letter}"
    return f"{value:.4g}"


def is_log(chart: Chart, axis: Literal["x", "y"]) -> bool:
    """Tell whether the figure's description asks for a logarithmic axis."""
    return axis in chart.selection.spec.log


def number_across(axes: Axes, chart: Chart, title: str) -> None:
    """Scale, number and title the horizontal axis of a quantity."""
    if is_log(chart, "x"):
        axes.set_xscale("log")
    number(axes.xaxis, axes.get_xlim(), is_log=is_log(chart, "x"))
    axes.set_xlabel(title, labelpad=2)
