"""A figure of bars as data: what is planned by `bar_plan` and drawn by `bars`."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Bar:
    """One case: its median, quartiles and samples, in the chart's unit."""

    median: float
    low: float
    high: float
    dots: tuple[float, ...] = ()
    limit: float = math.nan
    share: float = math.nan
    """Efficiency: how much of the limit the median reaches."""
    note: str = ""
    """Why nothing was measured; the bar is then only this text."""
    is_ours: bool = False


@dataclass(frozen=True)
class Row:
    """One contender (or one value of another parameter), with a bar for each of the groups."""

    label: str
    bars: tuple[Bar, ...]

    @property
    def is_ours(self) -> bool:
        """Whether all of the row is this project's own."""
        return all(bar.is_ours for bar in self.bars)


@dataclass(frozen=True)
class Panel:
    """The rows under one condition, in the order they are drawn."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class BarChart:
    """A figure of bars."""

    title: str
    subtitle: str
    caption: str
    quantity: str
    """Name of the horizontal axis, with its unit."""
    unit: str
    panels: tuple[Panel, ...]
    groups: tuple[str, ...] = ("",)
    """Names of the bars of one row."""
    grouping: str = ""
    """What the groups are values of."""
