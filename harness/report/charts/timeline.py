"""Timelines: what each sample stood at over time or births, thin, and the series' median, thick."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.errors import InputError
from harness.report import house_style as style
from harness.report.charts import axes as ax
from harness.report.charts import layout
from harness.report.charts.chart import Chart, chart, in_order, role_columns, some_of_each
from harness.report.charts.layout import Look
from harness.report.charts.lines import handles, limit_lines
from harness.report.charts.quantity import Quantity
from harness.report.charts.reached import axis_floor, reached, reached_text
from harness.report.charts.select import Selection
from harness.report.charts.steps import (
    Steps,
    common_places,
    evenly,
    value_at,
    without_repeats,
)

HEIGHT: Final = 1.6
INNER: Final = 1.6
MOST_STEPS: Final = 400
"""Steps of a line that are drawn: more than its panel has pixels."""
MOST_LISTED: Final = 10
"""Steps of each median that the tables for people hold."""
KEYS: Final = ["panel", "series"]
HEIGHTS: Final = ["value"]
MEDIAN: Final = "median"
SAMPLE: Final = "sample"


def plan(selection: Selection) -> Chart:
    """Return the figure with each sample's steps and the median of each series.

    A median begins where all samples of its series have begun, and ends with the last of them; a
    sample that has ended keeps its last value. Whether it reaches a threshold is told by all of
    its steps, also where fewer are drawn.

    Raises:
        InputError: a sample has only one of both lists, they are not equally long, or the one
            across is not in order.
    """
    spec = selection.spec
    where = f"figure {spec.name}"
    rows = selection.rows
    lists = zip(rows["across"], rows["number"], rows["case"], strict=True)
    lines = [_steps(x, y, f"{where}: {case}", selection) for x, y, case in lists]
    rows = rows.assign(steps=pd.Series(lines, index=rows.index, dtype=object))
    medians = {key: _median(list(part["steps"])) for key, part in rows.groupby(KEYS, sort=False)}
    points = in_order(_points(rows, medians), selection)
    middle = points[points["line"] == MEDIAN]
    shown = _shown(selection, rows) + ax.scales_note(points, HEIGHTS)
    listed = some_of_each(middle, KEYS, MOST_LISTED)[[*KEYS, "n", "across", "value"]]
    if spec.thresholds:
        listed = in_order(reached(rows, medians, spec.thresholds), selection)
        shown += f" {reached_text(listed, selection)}"
    return chart(
        selection,
        points,
        shown,
        listed,
        per="line",
        counted=middle,
        on_page=bool(spec.thresholds),
    )


def _steps(x: Any, y: Any, where: str, selection: Selection) -> Steps:
    """Return a sample's line as an array of (place, value)."""
    spec = selection.spec
    if x is None:
        raise InputError(f"{where}: has {spec.value} and no {spec.x}: a timeline needs both lists")
    if len(x) != len(y):
        raise InputError(
            f"{where}: {spec.x} has {len(x)} numbers and {spec.value} {len(y)}: expected lists of "
            "one length"
        )
    back = np.flatnonzero(np.diff(x) < 0)
    if len(back):
        raise InputError(
            f"{where}: {spec.x}[{back[0] + 1}] = {x[back[0] + 1]:g} comes after {x[back[0]]:g}: "
            "expected numbers in order"
        )
    return np.column_stack([x, y])


def _median(lines: Sequence[Steps]) -> Steps:
    """Return the median of lines, a step wherever one of them steps."""
    places = common_places(lines, max(float(line[-1, 0]) for line in lines))
    values = np.array([value_at(line, places) for line in lines])
    return np.column_stack([places, np.median(values, axis=0)])


def _points(rows: pd.DataFrame, medians: dict[Any, Steps]) -> pd.DataFrame:
    """Return the steps that are drawn: of each sample, unless it is alone, and of the median."""
    groups = list(rows.groupby(KEYS, sort=False))
    parts = [part for key, group in groups for part in _lines(key, group)]
    parts += [_drawn(key, MEDIAN, len(group), medians[key]) for key, group in groups]
    joined: pd.DataFrame = pd.concat(parts, ignore_index=True)
    return joined


def _lines(key: Any, group: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the lines of a series' samples."""
    if len(group) == 1:
        return
    for number, (steps, seed) in enumerate(zip(group["steps"], group["seed"], strict=True), 1):
        yield _drawn(key, SAMPLE, 1, steps, number, seed)


def _drawn(
    key: Any, line: str, n: int, steps: Steps, sample: Any = pd.NA, seed: Any = pd.NA
) -> pd.DataFrame:
    """Return the steps of one line that are drawn; a median is of no single sample and seed."""
    kept = without_repeats(steps)
    kept = kept[evenly(len(kept), MOST_STEPS)]
    roles = role_columns(KEYS, key, len(kept))
    whole = {
        name: pd.Series([value] * len(kept), dtype="Int64")
        for name, value in (("sample", sample), ("seed", seed))
    }
    columns = {"n": n, "across": kept[:, 0], "value": kept[:, 1]}
    drawn: pd.DataFrame = pd.DataFrame({**roles, "line": line, **whole, **columns})
    return drawn


def _shown(selection: Selection, rows: pd.DataFrame) -> str:
    """Return the caption's sentence on the lines."""
    across = _across(selection).label
    begin = f"{selection.quantity.label} over {across[:1].lower()}{across[1:]}"
    if rows.groupby(KEYS, sort=False).size().max() == 1:
        return f"{begin}: a line is one sample."
    return f"{begin}: thin lines the samples, thick ones their medians."


def _across(selection: Selection) -> Quantity:
    if selection.across is None:
        raise InputError(f"figure {selection.spec.name}: timeline needs x, a list")
    return selection.across


def draw(chart: Chart) -> Figure:
    """Draw a figure of timelines."""
    shape = layout.shape(len(chart.panels), INNER)
    series = chart.values("series")
    look = {key: item.unmarked for key, item in layout.looks(series, lines=True).items()}
    below = ax.TICKS + ax.TITLE + 0.06
    frame = layout.frame(chart, shape, HEIGHT, below, handles=handles(chart, look))
    scaled, title = ax.scaled(chart, HEIGHTS)
    factor, _ = chart.selection.quantity.axis(float(chart.points["value"].abs().max()))
    width, across = _across(chart.selection).axis(float(chart.points["across"].abs().max()))
    scaled = scaled.assign(across=scaled["across"] / width)
    for axes, panel in zip(frame.axes, chart.panels, strict=True):
        _draw_lines(axes, scaled[scaled["panel"] == panel], look)
        _draw_thresholds(axes, [value / factor for value in chart.selection.spec.thresholds])
        limit_lines(axes, chart)
        ax.number_across(axes, chart, across)
    ax.share_heights(frame, chart, HEIGHTS)
    floor = axis_floor(chart.selection.spec.thresholds) / factor
    if floor:
        for axes in frame.axes:
            axes.set_ylim(bottom=floor)
            ax.number(axes.yaxis, axes.get_ylim(), is_log=False)
    ax.title_heights(frame, title)
    return frame.figure


def _draw_lines(axes: Axes, points: pd.DataFrame, look: dict[Any, Look]) -> None:
    """Draw the samples, and over all of them the medians."""
    samples = points[points["line"] == SAMPLE]
    for (value, _), part in samples.groupby(["series", "sample"], sort=False):
        _draw_steps(axes, part, look[value], linewidth=0.5, alpha=0.55)
    for value, part in points[points["line"] == MEDIAN].groupby("series", sort=False):
        dashes = look[value].dashes or (None, None)
        _draw_steps(axes, part, look[value], linewidth=1.5, dashes=dashes, zorder=3)


def _draw_steps(axes: Axes, points: pd.DataFrame, look: Look, **line: Any) -> None:
    axes.plot(points["across"], points["value"], drawstyle="steps-post", color=look.color, **line)


def _draw_thresholds(axes: Axes, values: Iterable[float]) -> None:
    for value in values:
        axes.axhline(value, color=style.GREY, linewidth=0.6, dashes=(1.5, 2), zorder=1)
