"""A figure that is ready to be drawn: its samples, the numbers in it, and its caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from harness.report.charts.caption import caption
from harness.report.charts.select import ROLES, Selection
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
) -> Chart:
    """Return a figure with its caption.

    Args:
        selection: its samples.
        points: the numbers that are drawn; ``n`` is the number of samples behind each.
        shown: sentences on what is drawn and how.
        listed: what the tables for people hold; by default all points.
        per: what ``n`` samples stand behind.
    """
    return Chart(selection, points, caption(selection, points, shown, per), listed)


def in_order(points: pd.DataFrame, selection: Selection) -> pd.DataFrame:
    """Return points sorted by their roles, as they are drawn."""
    roles = [role for role in ROLES if role in points]
    ranks = {role: _ranks(selection.orders[role]) for role in roles}
    places = pd.DataFrame({role: points[role].map(ranks[role]) for role in roles})
    ordered = places.sort_values(roles, kind="stable").index
    sorted_points: pd.DataFrame = points.loc[ordered].reset_index(drop=True)
    return sorted_points


def _ranks(values: Sequence[Any]) -> dict[Any, int]:
    return {value: rank for rank, value in enumerate(values)}
