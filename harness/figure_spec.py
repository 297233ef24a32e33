"""A figure as a section, or a set of published results, declares it: kind, axes, series, panels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr

Value = StrictBool | StrictInt | StrictFloat | StrictStr
Name = Annotated[StrictStr, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Kind = Literal[
    "grouped_bars",
    "stacked_bars",
    "lines",
    "heat_map",
    "scatter",
    "ecdf",
    "anytime",
    "timeline",
    "histogram",
]


class FigureSpec(BaseModel):
    """What to draw from a table of samples; `harness.report.charts` draws it.

    A quantity is ``value`` (what was measured, in its unit), ``gb_per_s``, ``efficiency``,
    ``return_seconds``, ``ideal_seconds``, ``bytes``, ``read_bytes``, or ``extra.<name>`` for a
    number that a benchmark noted beside its sample. An axis is the name of a parameter. A
    ``timeline`` and a ``histogram`` draw lists of numbers that were noted, and named alike.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    """Unique in its section; also the name of its files."""
    kind: Kind
    title: StrictStr = ""
    benchmark: StrictStr | None = None
    """Only this benchmark's cases, ``module.Class.method``; needed where a run holds several."""
    select: dict[str, list[Value]] = Field(default_factory=dict)
    """Parameter to the values that are shown; others are left out."""
    value: StrictStr = "value"
    """The quantity that is drawn; of a scatter, the one on the vertical axis."""
    x: StrictStr | None = None
    """Parameter along the horizontal axis; of a scatter the quantity there, of a timeline the list.
    ``ecdf``, ``anytime`` and ``histogram`` have none."""
    y: StrictStr | None = None
    """Parameter along the vertical axis of a heat map."""
    series: StrictStr | None = None
    """Parameter whose values are told apart by colour: the contenders."""
    panel: StrictStr | None = None
    """Parameter with a panel for each value."""
    base: Value | None = None
    """Value of ``series`` that speed-ups, written on the bars, are over."""
    labels: dict[str, StrictStr] = Field(default_factory=dict)
    """Parameter, value or phase to what the figure calls it."""
    log: list[Literal["x", "y"]] = Field(default_factory=list)
    """Axes with a logarithmic scale."""
    thresholds: list[StrictInt | StrictFloat] = Field(default_factory=list)
    """Of a timeline: values with a line across, and where each series reaches them, in a table."""

    @property
    def x_is_quantity(self) -> bool:
        """Whether ``x`` names what was measured, not a parameter."""
        return self.kind in ("scatter", "timeline")


def figure_specs(declared: list[Mapping[str, Any]]) -> list[FigureSpec]:
    """Return the figures that a run's header declares."""
    return [FigureSpec.model_validate(item) for item in declared]
