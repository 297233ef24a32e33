"""A figure that is ready to be drawn: its samples, the numbers in it, and its caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from harness.report.charts.caption import caption
from harness.report.charts.select import ROLES, Selection
from harness.report.charts.steps import evenly
from harness.report.work import described


@dataclass(frozen=True)
class Chart:
    """A figure, not drawn yet."""

    selection: Selection
    points: pd.DataFrame
    """All numbers that are drawn, one row a point: the roles, then what the kind draws."""
    caption: str
    listed: pd.DataFrame | None = None
    """What the tables for people hold, where ``points`` would be too many."""
    on_page: bool = False
    """Whether the page shows that table below the figure, as the figure alone does not tell it."""

    @property
    def title(self) -> str:
        """What the figure is called."""
        spec = self.selection.spec
        return spec.title or spec.name.replace("_", " ")

    @property
    def subtitle(self) -> str:
        """The parameters that all of the figure shares."""
        labels = self.selection.spec.labels
        fixed = self.selection.fixed
        return described({name: labels.get(str(value), value) for name, value in fixed.items()})

    @property
    def panels(self) -> tuple[Any, ...]:
        """The values that have a panel each."""
        return tuple(
            value
            for value in self.selection.orders["panel"]
            if value in set(self.points["panel"]) or value in set(self.selection.gaps["panel"])
        )

    def values(self, role: str) -> tuple[Any, ...]:
        """Return the values of a role in the order they are drawn."""
        return self.selection.orders[role]

    def of_panel(self, value: Any) -> pd.DataFrame:
        """Return the points of one panel."""
        found: pd.DataFrame = self.points[self.points["panel"] == value]
        return found

    def panel_title(self, value: Any) -> str:
        """Return what stands over a panel."""
        return self.selection.label("panel", value) if self.selection.spec.panel else ""

    def axis_title(self, role: str) -> str:
        """Return what stands beside the axis of a parameter."""
        parameter = self.selection.parameter(role)
        return self.selection.name(parameter) if parameter else ""


def chart(
    selection: Selection,
    points: pd.DataFrame,
    shown: str,
    listed: pd.DataFrame | None = None,
    *,
    per: str = "point",
    counted: pd.DataFrame | None = None,
    on_page: bool = False,
) -> Chart:
    """Return a figure with its caption.

    Args:
        selection: its samples.
        points: the numbers that are drawn; ``n`` is the number of samples behind each.
        shown: sentences on what is drawn and how.
        listed: what the tables for people hold; by default all points.
        per: what ``n`` samples stand behind.
        counted: those of the points whose ``n`` the caption states; by default all.
        on_page: whether the page shows the table for people, too.
    """
    of = points if counted is None else counted
    return Chart(selection, points, caption(selection, of, shown, per), listed, on_page)


def in_order(points: pd.DataFrame, selection: Selection) -> pd.DataFrame:
    """Return points sorted by their roles, as they are drawn."""
    roles = [role for role in ROLES if role in points]
    ranks = {role: _ranks(selection.orders[role]) for role in roles}
    places = pd.DataFrame({role: points[role].map(ranks[role]) for role in roles})
    ordered = places.sort_values(roles, kind="stable").index
    sorted_points: pd.DataFrame = points.loc[ordered].reset_index(drop=True)
    return sorted_points


def some_of_each(points: pd.DataFrame, keys: Sequence[str], most: int) -> pd.DataFrame:
    """Return at most so many points of each group, evenly apart, first and last among them."""
    groups = points.groupby(list(keys), sort=False)
    parts = [part.iloc[evenly(len(part), most)] for _, part in groups]
    joined: pd.DataFrame = pd.concat(parts, ignore_index=True)
    return joined


def role_columns(keys: Sequence[str], values: Sequence[Any], count: int) -> dict[str, Any]:
    """Return columns that say of ``count`` points which values of the roles they have.

    They are of objects, as values of parameters may be of any type.
    """
    pairs = zip(keys, values, strict=True)
    return {key: pd.Series([value] * count, dtype=object) for key, value in pairs}


def _ranks(values: Sequence[Any]) -> dict[Any, int]:
    return {value: rank for rank, value in enumerate(values)}
