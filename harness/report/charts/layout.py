"""The frame of a figure: how wide it is, its panels, legend and margins, and how series look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from harness.report import house_style as style
from harness.report.charts.chart import Chart

LEFT: Final = 0.56
"""Inches to the left of axes, for their title and numbers."""
RIGHT: Final = 0.1
LEGEND_LINE: Final = 0.155
HANDLE: Final = 0.45
"""Inches of a legend's entry beside its text."""


@dataclass(frozen=True)
class Look:
    """How one series, or phase, is told apart, in colour and in grey."""

    color: str
    hatch: str
    edge: str
    marker: str
    dashes: tuple[float, ...]

    @property
    def unmarked(self) -> Look:
        """The look of a line whose points are too many to be marked."""
        return replace(self, marker="")


def looks(values: Sequence[Any], *, lines: bool = False) -> dict[Any, Look]:
    """Return the look of each value; lines use no colour that is lost on white."""
    colors = style.LINES if lines else style.SERIES
    return {value: _look(number, colors) for number, value in enumerate(values)}


def _look(number: int, colors: Sequence[str]) -> Look:
    color = colors[number % len(colors)]
    is_dark = color in (style.BLUE, style.BLACK)
    # From the second time round each colour meets another hatch, marker and dash.
    other = number % len(colors) + number // len(colors)
    hatch = style.HATCHES[other % len(style.HATCHES)]
    return Look(
        color=color,
        hatch=hatch,
        edge="white" if is_dark and hatch else style.BLACK,
        marker=style.MARKERS[other % len(style.MARKERS)],
        dashes=style.DASHES[other % len(style.DASHES)],
    )


def patch(look: Look, label: str) -> Patch:
    """Return a legend's entry for bars."""
    return Patch(
        facecolor=look.color, hatch=look.hatch, edgecolor=look.edge, linewidth=0.4, label=label
    )


@dataclass(frozen=True)
class Shape:
    """How the panels stand: inches of the figure and of each panel's axes."""

    width: float
    columns: int
    inner: float
    """Width of the axes."""
    left: float
    right: float


def shape(panels: int, inner: float, *, left: float = LEFT, right: float = RIGHT) -> Shape:
    """Choose one column's width if all panels fit side by side, else the page's, in rows."""
    needed = inner + left + right
    width = style.COLUMN if panels * needed <= style.COLUMN else style.PAGE
    columns = max(1, min(panels, int(width / needed)))
    rows = -(-panels // columns)
    columns = -(-panels // rows)  # so that the rows are equally long
    return Shape(width, columns, width / columns - left - right, left, right)


@dataclass(frozen=True)
class Frame:
    """An empty figure with axes for each panel."""

    figure: Figure
    axes: tuple[Axes, ...]
    columns: int


def frame(
    chart: Chart,
    shape: Shape,
    height: float,
    below: float,
    *,
    handles: Sequence[Artist] = (),
    key: str = "",
    above: float = 0.0,
    room: float = 0.0,
) -> Frame:
    """Return the figure with its titles, legend and caption; the panels are empty.

    Args:
        chart: what is drawn.
        shape: see `shape`.
        height: inches of the axes.
        below: inches for what stands below the axes.
        handles: the legend's entries.
        key: a line below the legend.
        above: inches for what stands above the axes beside the panel's title.
        room: inches below the figure's titles for what stands in place of a legend.
    """
    titled = 0.2 if chart.selection.spec.panel else 0.06
    shelf = titled + above + height + below
    legend = _legend_height(handles, shape.width) + (style.LINE + 0.04 if key else 0.0)
    top = style.TITLE + legend + room
    rows = -(-len(chart.panels) // shape.columns)
    total = top + rows * shelf + style.caption_height(chart.caption, shape.width)
    figure = style.new_figure(shape.width, total)
    style.add_title(figure, chart.title, chart.subtitle)
    _add_legend(figure, handles)
    if key:
        style.text_at(figure, style.EDGE, top - style.LINE - 0.04, key, color=style.GREY)
    style.add_caption(figure, chart.caption)
    found = []
    for number, value in enumerate(chart.panels):
        left = number % shape.columns * shape.width / shape.columns
        begin = top + number // shape.columns * shelf
        text = style.shortened(chart.panel_title(value), shape.inner + shape.left - style.EDGE)
        style.text_at(figure, left + style.EDGE, begin + 0.03, text, weight="bold")
        box = (left + shape.left, begin + titled + above, shape.inner, height)
        found.append(style.axes_at(figure, *box))
    return Frame(figure, tuple(found), shape.columns)


def _per_line(handles: Sequence[Artist], width: float) -> int:
    widest = max(style.text_width(str(handle.get_label())) for handle in handles)
    return max(1, int((width - 2 * style.EDGE) / (widest + HANDLE)))


def _legend_height(handles: Sequence[Artist], width: float) -> float:
    if not handles:
        return 0.0
    return LEGEND_LINE * -(-len(handles) // _per_line(handles, width)) + 0.04


def _add_legend(figure: Figure, handles: Sequence[Artist]) -> None:
    if not handles:
        return
    width, height = figure.get_size_inches()
    columns = min(_per_line(handles, width), len(handles))
    figure.legend(
        # They are filled in column by column, and are to be read line by line.
        handles=[handle for column in range(columns) for handle in handles[column::columns]],
        loc="upper left",
        bbox_to_anchor=(style.EDGE / width, 1 - (style.TITLE - 0.02) / height),
        borderaxespad=0,
        borderpad=0,
        ncols=columns,
        handlelength=2.0,
        handletextpad=0.5,
        columnspacing=1.0,
        labelspacing=0.3,
    )
