"""Heat maps: the median of each pair of values as a colour, with its number written in the cell."""

from __future__ import annotations

from typing import Any, Final

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from harness.report import house_style as style
from harness.report.charts import axes as ax
from harness.report.charts import layout
from harness.report.charts.chart import Chart, chart
from harness.report.charts.medians import center, medians
from harness.report.charts.select import Selection
from harness.units import digits

COLORS: Final = "cividis"
"""Grows evenly lighter, for all kinds of colour vision and in grey (Nuñez, Anderton and Renslow,
"Optimizing colormaps with consideration for color vision deficiency", 2018)."""
CELL: Final = 0.24
"""Inches that a row of cells is high."""
MOST_CELL: Final = 0.75
BAR: Final = 0.09
BAR_ROOM: Final = 0.44
"""Inches that the colour bar takes above the panels, with its numbers."""
KEYS: Final = ("panel", "x", "y")


def plan(selection: Selection) -> Chart:
    """Return the figure with the median of each cell."""
    points = medians(selection, KEYS, "quartiles")
    return chart(selection, points, f"{selection.quantity.label}: {center(points)}s.")


def draw(chart: Chart) -> Figure:
    """Draw a figure of heat maps, which share their colours."""
    scaled, title = ax.scaled(chart, ["median"])
    points = scaled.assign(text=[digits(value) for value in scaled["median"]])
    widest = max(map(style.text_width, points["text"])) + 0.12
    columns, rows = chart.values("x"), _from_top(chart)
    names = [chart.selection.label("y", value) for value in rows]
    left = max(map(style.text_width, names)) + 0.3
    needed = len(columns) * max(widest, 0.3)
    shape = layout.shape(len(chart.panels), needed, left=left, right=0.12)
    inner = min(shape.inner, len(columns) * max(widest, MOST_CELL))
    ticks = ax.Ticks.of(chart, "x", inner / len(columns))
    frame = layout.frame(chart, shape, CELL * len(rows), ticks.room, room=BAR_ROOM)
    norm = Normalize(points["median"].min(), points["median"].max())
    for axes, panel in zip(frame.axes, chart.panels, strict=True):
        box = axes.get_position()
        axes.set_position((box.x0, box.y0, box.width * inner / shape.inner, box.height))
        _draw_cells(axes, chart, points[points["panel"] == panel], norm)
        ticks.put(axes)
        axes.set_yticks(range(len(rows)), labels=names)
        axes.tick_params(axis="y", length=0)
        axes.spines[:].set_visible(False)
        axes.set_ylim(len(rows) - 0.5, -0.5)
    ax.title_heights(frame, chart.axis_title("y"))
    _add_color_bar(frame, norm, title)
    return frame.figure


def _from_top(chart: Chart) -> tuple[Any, ...]:
    """Return the values from top to bottom: numbers grow upwards, words read downwards."""
    values = chart.values("y")
    are_numbers = all(isinstance(value, int | float) for value in values)
    return values[::-1] if are_numbers else values


def _draw_cells(axes: Axes, chart: Chart, points: Any, norm: Normalize) -> None:
    columns, rows = chart.values("x"), _from_top(chart)
    cells = np.full((len(rows), len(columns)), np.nan)
    axes.set_facecolor("white")
    for _, point in points.iterrows():
        row, column = rows.index(point["y"]), columns.index(point["x"])
        cells[row, column] = point["median"]
        color = _ink(matplotlib.colormaps[COLORS](norm(point["median"])))
        axes.text(column, row, point["text"], ha="center", va="center", color=color)
    for row, column in np.argwhere(np.isnan(cells)):
        axes.text(column, row, "–", ha="center", va="center", color=style.GREY)
    axes.imshow(cells, cmap=COLORS, norm=norm, aspect="auto", interpolation="nearest")


def _ink(color: tuple[float, ...]) -> str:
    """Return black or white, whichever contrasts more (WCAG 2.1, relative luminance)."""
    light = luminance(np.asarray(color[:3]))
    return "white" if 1.05 / (light + 0.05) > (light + 0.05) / 0.05 else "black"


def luminance(color: npt.NDArray[np.float64]) -> float:
    """Return the relative luminance of red, green and blue, each 0 to 1 (WCAG 2.1)."""
    linear = np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)
    return float(linear @ np.array([0.2126, 0.7152, 0.0722]))


def _add_color_bar(frame: layout.Frame, norm: Normalize, title: str) -> None:
    """Add the colour bar where other figures have their legend, its title to the right of it."""
    figure = frame.figure
    width = min(1.6, float(figure.get_size_inches()[0]) / 2)
    axes = style.axes_at(figure, style.EDGE + 0.14, style.TITLE, width, BAR)
    bar = figure.colorbar(
        ScalarMappable(norm, COLORS), cax=axes, orientation="horizontal", format=ax.compact
    )
    bar.outline.set_linewidth(0.4)
    bar.ax.locator_params(nbins=4)
    style.text_at(figure, style.EDGE + width + 0.34, style.TITLE - 0.02, title)
