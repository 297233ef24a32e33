"""Lines of time against bytes: a contender's fixed cost on the left, its bandwidth on the right."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from harness.report import house_style as style
from harness.report.contenders import OURS
from harness.report.table import PARAM
from harness.report.work import CACHE_STATES, Work, caption, described
from harness.units import byte_count, seconds, tick

FEWEST_SIZES: Final = 3
"""Sizes from which a line says more than bars."""
MOST_PEERS: Final = len(style.LINES)
"""Lines that can be told apart; of more peers the fastest are drawn, and the rest named."""
SHORT_SPAN: Final = 80
"""Ratio of an axis' ends below which powers of ten alone would be too few numbers."""
LEFT: Final = 0.56
RIGHT: Final = 0.14
ABOVE: Final = 0.24
HEIGHT: Final = 1.9
BELOW: Final = 0.4
ENTRY: Final = 0.138
"""Inches around the axes of a panel, and for each entry of its legend."""


@dataclass(frozen=True)
class Line:
    """One contender: medians and quartiles in seconds over sizes in bytes, sizes ascending."""

    label: str
    sizes: tuple[float, ...]
    medians: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class LinePanel:
    """The contenders under one condition, and the ideal time at each size where it is known."""

    title: str
    lines: tuple[Line, ...]
    ideal: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class LineChart:
    """A figure of lines."""

    title: str
    subtitle: str
    caption: str
    panels: tuple[LinePanel, ...]


def plan(work: Work) -> Iterator[LineChart]:
    """Yield charts of one benchmark whose cases move at least `FEWEST_SIZES` amounts of bytes."""
    contender = work.contender
    sized = work.cases[(work.cases["n"] > 0) & (work.cases["gb_per_s"].notna())]
    by = _sizing(work, sized)
    if by is None:
        return
    panels = "cache" if "cache" in work.varying() else None
    for part in work.split(work.varying(contender, by, panels)):
        chart = _chart(part, contender, by, panels)
        if chart is not None:
            yield chart


def _sizing(work: Work, sized: pd.DataFrame) -> str | None:
    """Return the parameter that decides how many bytes a case moves."""
    for name in work.varying(work.contender, "cache"):
        if sized.groupby(PARAM + name)["bytes"].first().nunique() >= FEWEST_SIZES:
            return name
    return None


def _chart(work: Work, contender: str | None, by: str, panels: str | None) -> LineChart | None:
    shelves = [_panel(part, contender) for part in work.split([panels] if panels else [])]
    found = [panel for panel in shelves if panel.lines]
    if not found:
        return None
    drawn = {line.label for panel in found for line in panel.lines}
    known = work.cases[work.cases["n"] > 0]
    missing = sorted(set(known[PARAM + contender].map(str)) - drawn) if contender else []
    left_out = f" Not drawn (slower, or fewer sizes): {', '.join(missing)}." if missing else ""
    shown = (
        f"Time at the median over bytes, by {by}; band over the quartiles; thin dashed line: the "
        f"machine's limit; less is better. In the legend: fixed cost and bandwidth that fit a "
        f"line best.{left_out}"
    )
    fixed = {name: value for name, value in work.fixed().items() if name not in (by, panels)}
    return LineChart(work.benchmark, described(fixed), caption(work, shown), tuple(found))


def _panel(work: Work, contender: str | None) -> LinePanel:
    cases = work.cases[(work.cases["n"] > 0) & work.cases["gb_per_s"].notna()].sort_values("bytes")
    column = PARAM + contender if contender else "benchmark"
    groups = [(str(label), part) for label, part in cases.groupby(column, sort=False)]
    lines = [
        _line(label, part) for label, part in groups if part["bytes"].nunique() >= FEWEST_SIZES
    ]
    # By the time for a byte over all sizes, so that neither small nor large ones decide alone.
    lines.sort(key=lambda line: float(np.mean(np.log(np.divide(line.medians, line.sizes)))))
    peers = [line for line in lines if line.label not in OURS][:MOST_PEERS]
    drawn = tuple(line for line in lines if line.label in OURS or line in peers)
    ideal = cases.dropna(subset="ideal_seconds").groupby("bytes")["ideal_seconds"].median()
    title = str(work.cases["cache_state"].iloc[0])
    return LinePanel(CACHE_STATES.get(title, title), drawn, tuple(ideal.items()))


def _line(label: str, part: pd.DataFrame) -> Line:
    columns = (part[name].astype(float) for name in ("bytes", "median", "q25", "q75"))
    return Line(label, *(tuple(column) for column in columns))


def draw(chart: LineChart) -> Figure:
    """Draw a chart: one panel takes a column's width, more take the page's."""
    columns = min(2, len(chart.panels))
    width = style.COLUMN if columns == 1 else style.PAGE
    entries = max(len(panel.lines) + bool(panel.ideal) for panel in chart.panels)
    shelf = ABOVE + HEIGHT + BELOW + ENTRY * entries
    total = style.TITLE + -(-len(chart.panels) // 2) * shelf
    figure = style.new_figure(width, total + style.caption_height(chart.caption, width))
    style.add_title(figure, chart.title, chart.subtitle)
    for number, panel in enumerate(chart.panels):
        left = number % columns * width / columns
        top = style.TITLE + number // columns * shelf
        style.text_at(figure, left + style.EDGE, top + 0.03, panel.title, weight="bold")
        inner = width / columns - LEFT - RIGHT
        axes = style.axes_at(figure, left + LEFT, top + ABOVE, inner, HEIGHT)
        _draw_panel(axes, panel)
        _add_legend(figure, axes, left, top + ABOVE + HEIGHT + BELOW)
    style.add_caption(figure, chart.caption)
    return figure


def _draw_panel(axes: Axes, panel: LinePanel) -> None:
    others = iter(style.LINES)
    for number, line in enumerate(panel.lines):
        ours = line.label in OURS
        color = style.OURS if ours else next(others)
        axes.plot(
            line.sizes,
            line.medians,
            color=color,
            marker=style.MARKERS[number],
            markersize=3,
            linewidth=1.6 if ours else 1.0,
            dashes=style.DASHES[number],
            label=f"{line.label}: {fitted(line)}",
        )
        axes.fill_between(line.sizes, line.low, line.high, color=color, alpha=0.2, linewidth=0)
    if len(panel.ideal) > 1:
        sizes, ideal = zip(*panel.ideal, strict=True)
        axes.plot(sizes, ideal, color=style.BLACK, linestyle="--", linewidth=0.8, label="limit")
    axes.set_xscale("log")
    axes.set_yscale("log")
    _label_ticks(axes.xaxis, axes.get_xlim(), "bytes")
    _label_ticks(axes.yaxis, axes.get_ylim(), "seconds")
    axes.set_xlabel("Bytes", labelpad=2)


def _label_ticks(axis: Axis, limits: tuple[float, float], unit: str) -> None:
    """Number the powers of ten, and the steps between them on an axis that has few of those."""
    is_short = limits[1] < SHORT_SPAN * limits[0]
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if is_short else (1,)))
    axis.set_major_formatter(lambda value, _: tick(value, unit))
    axis.set_minor_formatter(NullFormatter())


def _add_legend(figure: Figure, axes: Axes, left: float, top: float) -> None:
    width, height = figure.get_size_inches()
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="upper left",
        bbox_to_anchor=((left + style.EDGE) / width, 1 - top / height),
        borderaxespad=0,
        borderpad=0,
        handlelength=3.2,
        labelspacing=0.25,
    )


def fitted(line: Line) -> str:
    """Return a line's fixed cost and bandwidth, by least squares on relative errors."""
    fixed, per_byte = fit(line.sizes, line.medians)
    bandwidth = f"{byte_count(1 / per_byte)}/s" if per_byte > 0 else "no cost a byte"
    return f"{seconds(fixed)} + {bandwidth}" if fixed > 0 else bandwidth


def fit(sizes: Sequence[float], times: Sequence[float]) -> tuple[float, float]:
    """Return the fixed seconds and the seconds a byte that fit times best, in relative terms."""
    weights = 1 / np.asarray(times, dtype=float)
    columns = np.stack([weights, weights * np.asarray(sizes, dtype=float)], axis=1)
    solution, *_ = np.linalg.lstsq(columns, np.ones(len(times)), rcond=None)
    fixed, per_byte = map(float, solution)
    return (fixed, per_byte) if math.isfinite(fixed) else (0.0, 0.0)
