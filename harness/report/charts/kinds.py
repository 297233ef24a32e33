"""The kinds of figures by name: what plans the numbers of one, and what draws them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from matplotlib.figure import Figure

from harness.figure_spec import FigureSpec, Kind
from harness.report.charts import (
    anytime,
    ecdf,
    grouped_bars,
    heat_map,
    histogram,
    lines,
    scatter,
    stacked_bars,
    timeline,
)
from harness.report.charts.chart import Chart
from harness.report.charts.select import Selection, select
from harness.report.house_style import house_style
from harness.report.table import Results


@dataclass(frozen=True)
class _Kind:
    plan: Callable[[Selection], Chart]
    draw: Callable[[Chart], Figure]


KINDS: Final[Mapping[Kind, _Kind]] = {
    "grouped_bars": _Kind(grouped_bars.plan, grouped_bars.draw),
    "stacked_bars": _Kind(stacked_bars.plan, stacked_bars.draw),
    "lines": _Kind(lines.plan, lines.draw),
    "heat_map": _Kind(heat_map.plan, heat_map.draw),
    "scatter": _Kind(scatter.plan, scatter.draw),
    "ecdf": _Kind(ecdf.plan, ecdf.draw),
    "anytime": _Kind(anytime.plan, anytime.draw),
    "timeline": _Kind(timeline.plan, timeline.draw),
    "histogram": _Kind(histogram.plan, histogram.draw),
}


def plan(spec: FigureSpec, results: Results) -> Chart:
    """Return a figure with all numbers that it draws.

    Raises:
        InputError: the samples lack what the figure needs.
        IncomparableError: the figure would mix samples that may not be compared.
    """
    return KINDS[spec.kind].plan(select(spec, results))


def draw_chart(chart: Chart) -> Figure:
    """Draw a planned figure; call it inside `house_style`."""
    return KINDS[chart.selection.spec.kind].draw(chart)


def draw(spec: FigureSpec, results: Results) -> Figure:
    """Draw a figure of these results.

    Raises:
        InputError: as `plan`.
    """
    with house_style():
        return draw_chart(plan(spec, results))
