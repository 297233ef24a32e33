"""A case's history: its value over commits in order, with intervals and the steps found in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report import house_style as style
from harness.report.charts import axes as ax
from harness.report.charts.quantity import Quantity

HEIGHT: Final = 1.5
ABOVE: Final = 0.3
"""Inches above the axes for the changes."""
HASH: Final = 8
"""Letters of a commit's name below the axes."""


@dataclass(frozen=True)
class HistoryPoint:
    """The value of a case at one commit."""

    commit: str
    date: str
    """ISO 8601."""
    value: float
    low: float
    """Lower end of the value's interval; NaN if it is unknown."""
    high: float


@dataclass(frozen=True)
class Step:
    """Commits between which the value did not change."""

    first: int
    """Position of the first commit in the series."""
    last: int
    """Position of the last one, which belongs to it."""
    level: float
    """The value that they share."""


def draw_history(
    series: Sequence[HistoryPoint],
    steps: Sequence[Step],
    *,
    title: str,
    caption: str,
    unit: str = "seconds",
    label: str = "Time",
) -> Figure:
    """Draw a case's history; where a step ends and another begins, a change is marked.

    Args:
        series: in the order of the commits; at least one.
        steps: as found in the series, in order; none if nothing was looked for.
        title: the case.
        caption: where the values come from.
        unit: of the values.
        label: what the values are.
    """
    with style.house_style():
        shown = f"{caption} {_shown(series, steps)}"
        wide = style.PAGE
        total = style.TITLE + ABOVE + HEIGHT + _below() + style.caption_height(shown, wide)
        figure = style.new_figure(wide, total)
        style.add_title(figure, title, _span(series))
        style.add_caption(figure, shown)
        inner = wide - 0.66
        axes = style.axes_at(figure, 0.56, style.TITLE + ABOVE, inner, HEIGHT)
        known = [value for point in series for value in (point.value, point.high)]
        scale, name = Quantity("value", label, unit).axis(float(np.nanmax(known)))
        _draw_values(axes, series, scale)
        _mark_changes(axes, steps, scale)
        _number(axes, series, inner)
        axes.set_ylabel(name, labelpad=3)
        return figure


def _below() -> float:
    return 0.1 + ax.TICKS + 0.7 * style.text_width("0" * HASH)


def _shown(series: Sequence[HistoryPoint], steps: Sequence[Step]) -> str:
    band = any(np.isfinite(point.low) for point in series)
    parts = ["Dots: the value at each commit" + (", band: its interval" if band else "")]
    parts += ["thick lines: steps; vertical lines: changes"] if steps else []
    return f"{'; '.join(parts)}."


def _span(series: Sequence[HistoryPoint]) -> str:
    first, last = series[0], series[-1]
    return f"{len(series)} commits, {first.date[:10]} to {last.date[:10]}"


def _draw_values(axes: Axes, series: Sequence[HistoryPoint], scale: float) -> None:
    places = np.arange(len(series))
    columns = ([getattr(point, name) for point in series] for name in ("value", "low", "high"))
    value, low, high = (np.asarray(column, dtype=float) / scale for column in columns)
    axes.fill_between(places, low, high, color=style.SKY, alpha=0.35, linewidth=0)
    axes.plot(places, value, color=style.BLUE, linewidth=0.8, marker="o", markersize=2.6)


def _mark_changes(axes: Axes, steps: Sequence[Step], scale: float) -> None:
    for step in steps:
        ends = step.first - 0.4, step.last + 0.4
        axes.hlines(step.level / scale, *ends, color=style.BLACK, linewidth=1.6)
    taken = -np.inf
    width = ax.inches(axes)[0]
    for before, after in pairwise(steps):
        middle = (before.last + after.first) / 2
        axes.axvline(middle, color=style.VERMILLION, linewidth=0.9, linestyle="--")
        text = change_text(before.level, after.level)
        # Two changes close together have their texts one above the other.
        place = middle / max(steps[-1].last, 1) * width
        line = 1 if place - taken < style.text_width(text) + 0.06 else 0
        taken = place if not line else taken
        axes.annotate(
            text,
            (middle, 1),
            (0, 2 + line * style.LINE * 72),
            axes.get_xaxis_transform(),
            "offset points",
            ha="center",
            va="bottom",
            color=style.VERMILLION,
        )


def change_text(before: float, after: float) -> str:
    """Return how much a value changed, such as ``+12 %``, or ``3.1x`` from twice on."""
    if not before or before != before:
        return "changed"
    ratio = after / before
    return f"{ratio:.1f}x" if ratio >= 2 else f"{ratio - 1:+.0%}".replace("%", " %")


def _number(axes: Axes, series: Sequence[HistoryPoint], inner: float) -> None:
    """Name as many commits as fit, evenly apart, and number the values."""
    fitting = max(int(inner / 0.22), 1)
    apart = -(-len(series) // fitting)
    places = range(0, len(series), apart)
    axes.set_xticks(places)
    axes.set_xticklabels(
        [series[place].commit[:HASH] for place in places],
        rotation=ax.TILT,
        ha="right",
        rotation_mode="anchor",
    )
    axes.set_xlim(-0.6, len(series) - 0.4)
    low, high = axes.get_ylim()
    if 0 < low < 0.5 * high:
        axes.set_ylim(0, high)
    ax.number(axes.yaxis, axes.get_ylim(), is_log=False)
