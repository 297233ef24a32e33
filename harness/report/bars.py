"""Draws horizontal bars: a panel per cache state, contenders by speed, each under its limit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from harness.report import house_style as style
from harness.report.bar_chart import Bar, BarChart, Panel, Row
from harness.units import digits, percent

SHARE_COLUMN: Final = 0.5
GAP: Final = 0.1
MOST_LABEL: Final = 1.45
"""Inches that a contender's name may take; the rest of a longer one is cut off."""
PER_TICK: Final = 0.3
"""Inches along the axis for each number on it."""
BELOW_AXES: Final = 0.36
SAME_LIMIT: Final = 0.02
"""Limits of one group that differ by less are named by one number."""


def draw(chart: BarChart) -> Figure:
    """Draw a chart; one panel takes a column's width, more take the page's."""
    columns = min(2, len(chart.panels))
    width = style.COLUMN if columns == 1 else style.PAGE
    shelves = [chart.panels[start : start + columns] for start in range(0, len(chart.panels), 2)]
    above = _above_axes(chart)
    heights = [_axes_height(shelf, chart) for shelf in shelves]
    legend = 0.2 if len(chart.groups) > 1 else 0.0
    top = style.TITLE + legend
    total = top + sum(above + height + BELOW_AXES for height in heights)
    figure = style.new_figure(width, total + style.caption_height(chart.caption, width))
    style.add_title(figure, chart.title, chart.subtitle)
    if legend:
        _add_legend(figure, chart)
    for shelf, height in zip(shelves, heights, strict=True):
        for column, panel in enumerate(shelf):
            left = column * width / columns
            _draw_panel(figure, panel, chart, (left, top, width / columns, height))
        top += above + height + BELOW_AXES
    style.add_caption(figure, chart.caption)
    return figure


def _above_axes(chart: BarChart) -> float:
    """Return the inches above the axes: the panel's title, and a line per limit."""
    title = 0.2 if any(panel.title for panel in chart.panels) else 0.08
    return title + style.LINE * max(1, *(len(_limits(panel, chart)) for panel in chart.panels))


def _axes_height(shelf: Sequence[Panel], chart: BarChart) -> float:
    return style.ROW * max(len(panel.rows) for panel in shelf) * len(chart.groups) + 0.05


def _draw_panel(
    figure: Figure, panel: Panel, chart: BarChart, box: tuple[float, float, float, float]
) -> None:
    """Draw one panel into ``box``: left, top, width and the axes' height, in inches."""
    left, top, width, height = box
    has_limit = bool(_limits(panel, chart))
    labels = max(style.text_width(_label(row), bold=row.is_ours) for row in panel.rows) + 0.16
    medians = _median_column(panel, chart)
    values = medians + (SHARE_COLUMN if has_limit else 0.0)
    above = _above_axes(chart)
    axes = style.axes_at(
        figure, left + labels, top + above, width - labels - values - style.EDGE, height
    )
    style.text_at(figure, left + style.EDGE, top + 0.03, panel.title, weight="bold")
    _draw_rows(axes, panel, chart)
    _label_rows(axes, panel, chart, (medians, SHARE_COLUMN if has_limit else 0.0))
    _label_limits(axes, _limits(panel, chart), labels)
    axes.set_xlabel(chart.quantity, labelpad=2)


def _draw_rows(axes: Axes, panel: Panel, chart: BarChart) -> None:
    slots = [
        (position * len(chart.groups) + group, group, bar)
        for position, row in enumerate(panel.rows)
        for group, bar in enumerate(row.bars)
    ]
    for slot, group, bar in slots:
        if not math.isnan(bar.median):
            _draw_bar(axes, slot, bar, group, len(chart.groups))
        if not math.isnan(bar.limit):
            axes.vlines(bar.limit, slot - 0.5, slot + 0.5, color=style.BLACK, linewidth=1.1)
    reach = [value for *_, bar in slots for value in (bar.high, bar.median, bar.limit, *bar.dots)]
    ends = [0.0, *(value for value in reach if math.isfinite(value))]
    axes.set_xlim(min(ends), (max(ends) or 1.0) * 1.04)
    axes.set_ylim(len(panel.rows) * len(chart.groups) - 0.45, -0.55)
    axes.locator_params(axis="x", nbins=min(max(int(_inches(axes) / PER_TICK), 1), 6))
    axes.tick_params(axis="y", length=0)


def _draw_bar(axes: Axes, slot: int, bar: Bar, group: int, groups: int) -> None:
    hatch = style.HATCHES[group] if groups > 1 else style.HATCHES[int(bar.is_ours)]
    axes.barh(
        slot,
        bar.median,
        height=0.72,
        color=style.OURS if bar.is_ours else style.PEER,
        hatch=hatch,
        edgecolor=style.BLACK,
        linewidth=0.4,
    )
    if math.isfinite(bar.low) and math.isfinite(bar.high):
        axes.plot([bar.low, bar.high], [slot, slot], color=style.BLACK, linewidth=0.9)
        axes.vlines([bar.low, bar.high], slot - 0.18, slot + 0.18, color=style.BLACK, linewidth=0.9)
    if bar.dots:
        # Spread over the bar's height in the order of the samples, so that equal ones stay visible.
        spread = np.linspace(-0.24, 0.24, len(bar.dots)) if len(bar.dots) > 1 else np.zeros(1)
        axes.scatter(
            bar.dots,
            slot + spread,
            s=3.5,
            color="white",
            edgecolors=style.BLACK,
            linewidths=0.35,
            zorder=3,
        )


def _label(row: Row) -> str:
    return style.shortened(row.label, MOST_LABEL)


def _median_column(panel: Panel, chart: BarChart) -> float:
    """Return the inches that the medians beside the bars need."""
    texts = [digits(bar.median) for row in panel.rows for bar in row.bars if bar.median >= 0]
    return max(map(style.text_width, [chart.unit, *texts])) + GAP


def _label_rows(axes: Axes, panel: Panel, chart: BarChart, columns: tuple[float, float]) -> None:
    """Write contenders to the left, medians and shares of the limit to the right of the bars.

    ``columns`` are the widths in inches of the two columns to the right.
    """
    groups = len(chart.groups)
    axes.set_yticks([position * groups + (groups - 1) / 2 for position in range(len(panel.rows))])
    axes.set_yticklabels([_label(row) for row in panel.rows])
    for tick, row in zip(axes.get_yticklabels(), panel.rows, strict=True):
        tick.set_fontweight("bold" if row.is_ours else "normal")
    has_limit = columns[1] > 0
    _write_right(axes, -0.5, (chart.unit, "of limit" if has_limit else ""), columns, above=True)
    for position, row in enumerate(panel.rows):
        for group, bar in enumerate(row.bars):
            slot = position * groups + group
            if bar.note:
                _write_note(axes, slot, bar.note, _inches(axes) + columns[0])
            elif not math.isnan(bar.median):
                share = percent(bar.share) if has_limit else ""
                _write_right(axes, slot, (digits(bar.median), share), columns)


def _write_right(
    axes: Axes,
    slot: float,
    texts: tuple[str, str],
    columns: tuple[float, float],
    *,
    above: bool = False,
) -> None:
    """Write into the two columns to the right of the axes, at a row's height or as their head."""
    inch = 1 / _inches(axes)
    for text, right in zip(texts, (columns[0], sum(columns)), strict=True):
        axes.text(
            1 + inch * right,
            slot,
            text,
            ha="right",
            va="bottom" if above else "center",
            color=style.GREY if above else style.BLACK,
            transform=axes.get_yaxis_transform(),
        )


def _write_note(axes: Axes, slot: int, note: str, width: float) -> None:
    text = style.shortened(note, width)
    left = axes.get_xlim()[1] * 0.01
    axes.text(left, slot, text, va="center", style="italic", color=style.GREY)


def _limits(panel: Panel, chart: BarChart) -> list[tuple[float, str]]:
    """Return position and text of the limits' labels: one a group, or one if they agree."""
    found = [_group_limits(panel, group) for group in range(len(chart.groups))]
    known = [(name, *limits) for name, limits in zip(chart.groups, found, strict=True) if limits]
    if len({text for _, _, text in known}) == 1:
        _, position, text = known[0]
        return [(position, f"limit {text} {chart.unit}")]
    return [(position, f"limit for {name} {text} {chart.unit}") for name, position, text in known]


def _group_limits(panel: Panel, group: int) -> tuple[float, str] | None:
    """Return the middle one of a group's limits and their range as text; None if it has none."""
    limits = sorted(
        row.bars[group].limit for row in panel.rows if not math.isnan(row.bars[group].limit)
    )
    if not limits:
        return None
    low, middle, high = limits[0], limits[len(limits) // 2], limits[-1]
    is_one = high <= low * (1 + SAME_LIMIT)
    return middle, digits(middle) if is_one else f"{digits(low)}–{digits(high)}"


def _label_limits(axes: Axes, labels: Sequence[tuple[float, str]], free_left: float) -> None:
    """Write the limits' labels above the axes, a line each, ending where their lines end.

    ``free_left`` is the space in inches between the axes and the panel's edge, which a label takes
    when its line stands near zero.
    """
    right = axes.get_xlim()[1]
    width = _inches(axes)
    for line, (position, text) in enumerate(reversed(labels)):
        fits = style.text_width(text) < free_left + width * position / right
        axes.annotate(
            text,
            (position / right, 1.0),
            xycoords="axes fraction",
            xytext=(0, 2 + line * style.LINE * 72),
            textcoords="offset points",
            ha="right" if fits else "left",
            va="bottom",
        )


def _inches(axes: Axes) -> float:
    """Return the width of axes in inches."""
    return float(axes.bbox.width / style.DPI)


def _add_legend(figure: Figure, chart: BarChart) -> None:
    width, height = figure.get_size_inches()
    patches = [
        Patch(
            facecolor="white",
            edgecolor=style.BLACK,
            hatch=hatch,
            linewidth=0.4,
            label=f"{chart.grouping}: {name}",
        )
        for name, hatch in zip(chart.groups, style.HATCHES, strict=False)
    ]
    figure.legend(
        handles=patches,
        loc="upper left",
        bbox_to_anchor=(style.EDGE / width, 1 - (style.TITLE - 0.02) / height),
        borderaxespad=0,
        borderpad=0,
        ncols=len(patches),
        handlelength=1.8,
        columnspacing=1.2,
    )
