"""Stacked bars: where the time of a case goes, phase by phase."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Final

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from harness.report import house_style as style
from harness.report.table import PARAM
from harness.report.work import Work, caption, described
from harness.units import digits, scale_of

REST: Final = "rest"
REST_FROM: Final = 0.01
"""Share of the whole from which the time that no phase explains is shown."""
MOST_ROWS: Final = 40
TOTAL_COLUMN: Final = 0.42
MOST_LABEL: Final = 3.0


@dataclass(frozen=True)
class Stack:
    """One case: seconds of each phase, in the order they happen."""

    label: str
    phases: Mapping[str, float]

    @property
    def total(self) -> float:
        """Seconds of all phases."""
        return sum(self.phases.values())


@dataclass(frozen=True)
class StackChart:
    """A figure of stacked bars."""

    title: str
    subtitle: str
    caption: str
    stacks: tuple[Stack, ...]


def plan(work: Work) -> Iterator[StackChart]:
    """Yield the chart of one benchmark's phases, if its samples state any."""
    names = work.varying()
    found = [
        Stack(_label(case, names), parts)
        for _, case in work.cases.iterrows()
        if (samples := work.samples_of(case)) is not None and (parts := phases(samples))
    ]
    if not found:
        return
    found.sort(key=lambda stack: stack.total)
    shown = "Medians of the phases of a sample, the fastest case first."
    if len(found) > MOST_ROWS:
        shown = f"{shown} The {MOST_ROWS} fastest of {len(found)} cases."
    subtitle = described(work.fixed())
    yield StackChart(work.benchmark, subtitle, caption(work, shown), tuple(found[:MOST_ROWS]))


def phases(samples: pd.DataFrame) -> dict[str, float]:
    """Return the median seconds of each phase of a case's samples, and of what remains.

    A write that states only when its call returned has two: until then, and until durable.
    """
    stated = [item for item in samples["phases"] if isinstance(item, dict)]
    whole = float(samples["value"].median())
    if stated:
        names = dict.fromkeys(str(name) for item in stated for name in item)
        found = {name: median(item[name] for item in stated if name in item) for name in names}
    else:
        returned = float(samples["return_seconds"].median())
        if math.isnan(returned):
            return {}
        return {"until the call returned": returned, "until durable": max(whole - returned, 0.0)}
    rest = whole - sum(found.values())
    return {**found, REST: rest} if rest > REST_FROM * whole else found


def draw(chart: StackChart) -> Figure:
    """Draw a chart over the page's width."""
    names = list(dict.fromkeys(name for stack in chart.stacks for name in stack.phases))
    per_line = max(int(style.PAGE / (max(map(style.text_width, names)) + 0.45)), 1)
    legend = 0.17 * -(-len(names) // per_line) + 0.06
    height = style.ROW * len(chart.stacks) + 0.08
    top = style.TITLE + legend
    total = top + height + 0.36 + style.caption_height(chart.caption, style.PAGE)
    figure = style.new_figure(style.PAGE, total)
    style.add_title(figure, chart.title, chart.subtitle)
    labels = min(max(style.text_width(stack.label) for stack in chart.stacks), MOST_LABEL) + 0.16
    width = style.PAGE - labels - TOTAL_COLUMN - style.EDGE
    axes = style.axes_at(figure, labels, top, width, height)
    _draw_stacks(axes, chart, names)
    patches = [_patch(position, name) for position, name in enumerate(names)]
    figure.legend(
        handles=patches,
        loc="upper left",
        bbox_to_anchor=(style.EDGE / style.PAGE, 1 - style.TITLE / total),
        borderaxespad=0,
        borderpad=0,
        ncols=per_line,
        handlelength=1.8,
    )
    style.add_caption(figure, chart.caption)
    return figure


def _draw_stacks(axes: Axes, chart: StackChart, names: list[str]) -> None:
    largest = max(stack.total for stack in chart.stacks)
    scale, unit = scale_of(largest, "seconds")
    begins = [0.0] * len(chart.stacks)
    for position, name in enumerate(names):
        lengths = [stack.phases.get(name, 0.0) / scale for stack in chart.stacks]
        axes.barh(
            range(len(lengths)),
            lengths,
            left=begins,
            height=0.72,
            color=style.SERIES[position % len(style.SERIES)],
            hatch=style.HATCHES[position % len(style.HATCHES)],
            edgecolor="white" if position % len(style.SERIES) in (0, 6) else style.BLACK,
            linewidth=0.4,
        )
        begins = [begin + length for begin, length in zip(begins, lengths, strict=True)]
    for row, end in enumerate(begins):
        axes.annotate(
            digits(end), (end, row), xytext=(3, 0), textcoords="offset points", va="center"
        )
    axes.set_xlim(0, (largest or 1.0) / scale * 1.02)
    axes.set_ylim(len(chart.stacks) - 0.45, -0.55)
    axes.set_yticks(range(len(chart.stacks)))
    axes.set_yticklabels([style.shortened(stack.label, MOST_LABEL) for stack in chart.stacks])
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"Time, {unit}", labelpad=2)


def _patch(position: int, name: str) -> Patch:
    return Patch(
        facecolor=style.SERIES[position % len(style.SERIES)],
        hatch=style.HATCHES[position % len(style.HATCHES)],
        edgecolor="white" if position % len(style.SERIES) in (0, 6) else style.BLACK,
        linewidth=0.4,
        label=name,
    )


def _label(case: pd.Series, names: list[str]) -> str:
    return ", ".join(str(case[PARAM + name]) for name in names) or str(case["benchmark"])
