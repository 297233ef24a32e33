"""What a figure of bars shows: a panel per cache state, a row per contender, groups in a row."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from harness.report.bar_chart import Bar, BarChart, Panel, Row
from harness.report.contenders import OURS
from harness.report.metric import Metric, metric_of
from harness.report.table import PARAM
from harness.report.work import CACHE_STATES, Work, caption, described

GROUPING: Final = ("destination", "device", "sync", "durability")
"""Parameters that share a row as bars beside each other rather than others do."""
MOST_GROUPS: Final = 3


@dataclass(frozen=True)
class Layout:
    """Which parameter decides about what; what is left makes a chart of its own each."""

    rows: str | None
    groups: str | None
    panels: str | None
    contender: str | None


def plan(work: Work) -> Iterator[BarChart]:
    """Yield the charts of one benchmark, one for each combination of what a chart cannot hold."""
    layout = layout_of(work)
    for part in work.split(work.varying(layout.rows, layout.groups, layout.panels)):
        if (part.cases["n"] > 0).any():
            yield _chart(part, layout)


def layout_of(work: Work) -> Layout:
    """Choose rows, groups and panels: rows are the contenders, unless these are few.

    A few contenders stand beside each other within the rows of a parameter that has more values.
    """
    has_cache = work.cases.get(PARAM + "cache", pd.Series()).notna().any()
    panels = "cache" if has_cache else None
    counts = {name: int(work.cases[PARAM + name].nunique()) for name in work.varying(panels)}
    contender = work.contender
    widest = max(counts, key=lambda name: counts[name], default=None)
    if contender is None or widest is None:
        rows = contender or widest
    else:
        few = counts[contender] <= MOST_GROUPS and counts[widest] > counts[contender]
        rows = widest if few else contender
        if few:
            return Layout(rows, contender, panels, contender)
    small = [name for name in counts if name != rows and counts[name] <= MOST_GROUPS]
    telling = [name for name in GROUPING if name in small]
    return Layout(rows, next(iter([*telling, *small]), None), panels, contender)


def _chart(work: Work, layout: Layout) -> BarChart:
    metric = metric_of(work.cases)
    names = list(dict.fromkeys(work.cases[PARAM + layout.groups])) if layout.groups else [""]
    parts = work.split([layout.panels] if layout.panels else [])
    panels = [_panel(part, layout, names, metric) for part in parts]
    fixed = {name: value for name, value in work.fixed().items() if name != layout.panels}
    limit = "vertical line: the machine's limit; " if metric.has_limit else ""
    shown = (
        f"{metric.quantity}: bar and figure at the median, whisker over the quartiles, dots single "
        f"samples; {limit}{metric.better} is better."
    )
    return BarChart(
        title=work.benchmark,
        subtitle=described(fixed),
        caption=caption(work, shown),
        quantity=metric.quantity,
        unit=metric.unit,
        panels=tuple(sorted(panels, key=_coldest_first)),
        groups=tuple(map(str, names)),
        grouping=layout.groups or "",
    )


def _panel(work: Work, layout: Layout, names: list[Any], metric: Metric) -> Panel:
    title = str(work.cases[PARAM + layout.panels].iloc[0]) if layout.panels else ""
    column = PARAM + layout.rows if layout.rows else "benchmark"
    rows = [
        Row(str(label), tuple(_bar(work, part, layout, name, metric) for name in names))
        for label, part in work.cases.groupby(column, sort=False)
    ]
    if layout.rows is None or layout.rows == layout.contender:
        rows.sort(key=lambda row: _rank(row, metric))
    return Panel(CACHE_STATES.get(title, title), tuple(rows))


def _bar(work: Work, part: pd.DataFrame, layout: Layout, name: Any, metric: Metric) -> Bar:
    """Return the bar of one group in one row; a combination that does not exist is empty."""
    values = part[PARAM + layout.groups].tolist() if layout.groups else [name]
    if name not in values:
        return Bar(math.nan, math.nan, math.nan)
    case = part.iloc[values.index(name)]
    is_ours = layout.contender is not None and case[PARAM + layout.contender] in OURS
    return metric.bar(case, work.samples_of(case), is_ours=is_ours)


def _rank(row: Row, metric: Metric) -> float:
    """Return what rows are sorted by: the best of their bars first, what has none last."""
    medians = [bar.median for bar in row.bars if not math.isnan(bar.median)]
    if not medians:
        return math.inf
    return -max(medians) if metric.is_throughput else min(medians)


def _coldest_first(panel: Panel) -> int:
    titles = list(CACHE_STATES.values())
    return titles.index(panel.title) if panel.title in titles else len(titles)
