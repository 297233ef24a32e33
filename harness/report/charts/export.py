"""Saves a figure as PDF and PNG, and the numbers in it as CSV, Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from harness.report import tables
from harness.report.charts.chart import Chart
from harness.report.charts.kinds import draw_chart
from harness.report.charts.select import ROLES
from harness.report.display import MISSING, Cell, DisplayRow, DisplayTable
from harness.report.house_style import house_style, save_figure
from harness.units import digits, percent

WORDS: Final = (*ROLES, "case", "phase", "line")
"""Columns that hold words."""


@dataclass(frozen=True)
class SavedChart:
    """A figure in its files."""

    chart: Chart
    png: Path
    pdf: Path
    csv: Path
    markdown: Path
    latex: Path


def save(chart: Chart, folder: Path, name: str) -> SavedChart:
    """Draw a figure and write all its files; equal figures give equal files.

    Args:
        chart: the figure.
        folder: where to; it must exist.
        name: of the files, without an ending.
    """
    saved = files(chart, folder, name)
    write(saved)
    return saved


def files(chart: Chart, folder: Path, name: str) -> SavedChart:
    """Return a figure with its files, which `write` makes."""
    endings = ("png", "pdf", "csv", "md", "tex")
    return SavedChart(chart, *(folder / f"{name}.{ending}" for ending in endings))


def write(saved: SavedChart) -> None:
    """Draw a figure and its numbers into its files."""
    chart = saved.chart
    with house_style():
        save_figure(draw_chart(chart), saved.png, saved.pdf)
    numbers(chart).to_csv(saved.csv, index=False)
    table = display(chart)
    saved.markdown.write_text(tables.markdown(table), encoding="utf-8")
    saved.latex.write_text(tables.latex(table), encoding="utf-8")


def numbers(chart: Chart) -> pd.DataFrame:
    """Return all numbers that are drawn, by the names of parameters, in the stated unit."""
    quantity = chart.selection.quantity
    points = _named(chart, chart.points)
    table: pd.DataFrame = points.assign(quantity=quantity.label, unit=quantity.unit)
    return table


def display(chart: Chart) -> DisplayTable:
    """Return the numbers as people read them."""
    shown = _named(chart, chart.points if chart.listed is None else chart.listed)
    names = _columns(chart, shown)
    words = [name for name in names if _role(chart, name) in WORDS]
    others = [name for name in names if name not in words]
    rows = [
        DisplayRow(
            (
                *(Cell(_word(chart, name, row[name])) for name in words),
                *(Cell(_FORMATS.get(name, digits)(row[name])) for name in others),
            )
        )
        for _, row in shown.iterrows()
    ]
    columns = tuple(names[name] for name in (*words, *others))
    return DisplayTable(chart.title, chart.caption, columns, tuple(rows), len(words))


def _named(chart: Chart, points: pd.DataFrame) -> pd.DataFrame:
    """Call roles as their parameters, and leave out those that the figure has not."""
    selection = chart.selection
    parameters = {role: selection.parameter(role) for role in ROLES if role in points}
    absent = [role for role, name in parameters.items() if name is None]
    kept = points.drop(columns=absent)
    empty = [
        name for name in ("low", "high", "speed_up") if name in kept and kept[name].isna().all()
    ]
    named = {role: name for role, name in parameters.items() if name is not None}
    table: pd.DataFrame = kept.drop(columns=empty).rename(columns=named)
    return table


def _role(chart: Chart, name: str) -> str:
    roles = {chart.selection.parameter(role): role for role in ROLES}
    return roles.get(name, name)


def _columns(chart: Chart, shown: pd.DataFrame) -> dict[str, str]:
    """Return the headings: the drawn quantity by its name and unit."""
    selection = chart.selection
    own = {"median": selection.quantity.column, "value": selection.quantity.column}
    if selection.across is not None:
        own["across"] = own["reached"] = selection.across.column
    own |= {"seconds": "Time, seconds", "speed_up": "speed-up"}
    return {str(name): own.get(str(name), str(name)) for name in shown}


def _word(chart: Chart, name: str, value: Any) -> str:
    role = _role(chart, name)
    if role == "phase":
        return chart.selection.name(str(value))
    return chart.selection.label("x", value) if role in ROLES else str(value)


def _speed_up(value: float) -> str:
    from harness.report.charts.grouped_bars import speed_up_text

    return MISSING if pd.isna(value) else speed_up_text(value)


_FORMATS: Final[dict[str, Callable[[float], str]]] = {
    "n": lambda value: str(int(value)),
    "of them": lambda value: str(int(value)),
    "number": lambda value: str(int(value)),
    "count": lambda value: str(int(value)),
    "threshold": lambda value: f"{value:g}",
    "share": lambda value: percent(value),
    "speed_up": _speed_up,
    "reached": lambda value: "never" if pd.isna(value) else digits(value),
}
