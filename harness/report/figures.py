"""All figures of a report: which ones there are, the most telling first, and how they are saved."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from matplotlib.figure import Figure

from harness.report import bar_plan, bars, decomposition, scaling
from harness.report.bar_chart import BarChart
from harness.report.decomposition import StackChart
from harness.report.house_style import house_style, save_figure
from harness.report.scaling import LineChart
from harness.report.work import Work

Chart = BarChart | StackChart | LineChart

KINDS: Final[dict[str, Callable[[Work], Iterator[Chart]]]] = {
    "bars": bar_plan.plan,
    "bytes": scaling.plan,
    "phases": decomposition.plan,
}


@dataclass(frozen=True)
class Plot:
    """One figure, not drawn yet."""

    name: str
    """Name of its files, without an ending."""
    chart: Chart


@dataclass(frozen=True)
class SavedPlot:
    """One figure in its files."""

    plot: Plot
    png: Path
    pdf: Path


def plots(works: Sequence[Work]) -> list[Plot]:
    """Return all figures: the first of each benchmark and kind, then the second of each, …"""
    found = [
        (number, kind, chart)
        for kind, plan in KINDS.items()
        for work in works
        for number, chart in enumerate(plan(work))
    ]
    found.sort(key=lambda item: item[0])
    names = unique_names(f"{chart.title}_{kind}" for _, kind, chart in found)
    return [Plot(name, chart) for name, (_, _, chart) in zip(names, found, strict=True)]


def save(plot: Plot, folder: Path) -> SavedPlot:
    """Draw a figure and write it as PNG and PDF."""
    saved = files(plot, folder)
    write(saved)
    return saved


def files(plot: Plot, folder: Path) -> SavedPlot:
    """Return a figure with its files, which `write` makes."""
    return SavedPlot(plot, folder / f"{plot.name}.png", folder / f"{plot.name}.pdf")


def write(saved: SavedPlot) -> None:
    """Draw a figure into its files."""
    with house_style():
        save_figure(draw(saved.plot.chart), saved.png, saved.pdf)


def draw(chart: Chart) -> Figure:
    """Draw a chart of any kind; call it inside `house_style`."""
    if isinstance(chart, BarChart):
        return bars.draw(chart)
    if isinstance(chart, StackChart):
        return decomposition.draw(chart)
    return scaling.draw(chart)


def unique_names(titles: Iterable[str]) -> list[str]:
    """Return titles as names of files, numbered where they repeat."""
    counts: dict[str, int] = {}
    names = []
    for title in titles:
        base = re.sub(r"[^A-Za-z0-9]+", "_", title).strip("_") or "figure"
        counts[base] = counts.get(base, 0) + 1
        names.append(base if counts[base] == 1 else f"{base}_{counts[base]}")
    return names
