"""The tables that people read: which columns, in which order, in which words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import pandas as pd

from harness import units
from harness.report.contenders import BEST_PEER, OURS
from harness.report.table import PARAM
from harness.report.work import CACHE_STATES, Work, described

MISSING: Final = "–"


@dataclass(frozen=True)
class Cell:
    """One cell: its text, and what it is sorted by where that is a number."""

    text: str
    key: float | None = None


@dataclass(frozen=True)
class DisplayRow:
    """One case."""

    cells: tuple[Cell, ...]
    is_ours: bool = False
    is_measured: bool = True
    begins: bool = False
    """Whether another condition begins here than that of the row before."""


@dataclass(frozen=True)
class DisplayTable:
    """One benchmark's cases, the fastest first within each condition."""

    title: str
    subtitle: str
    columns: tuple[str, ...]
    rows: tuple[DisplayRow, ...]
    words: int
    """How many of the columns hold words; the others hold numbers."""


def display_table(work: Work) -> DisplayTable:
    """Return the table of one benchmark's cases."""
    contender = work.contender
    conditions = work.varying(contender)
    names = [contender, *conditions] if contender else conditions
    shown = [column for column in _NUMBERS if column.is_shown(work.cases)]
    return DisplayTable(
        title=work.benchmark,
        subtitle=_subtitle(work),
        columns=(*names, *(column.name for column in shown)),
        rows=tuple(_rows(work, names, shown, conditions)),
        words=len(names),
    )


def _subtitle(work: Work) -> str:
    run = work.runs[0] if work.runs else None
    where = (
        f"{run.machine or 'unknown machine'}, commit {run.commit_label or 'unknown'}" if run else ""
    )
    threshold = f"verdicts beyond {units.percent(float(work.cases['threshold'].max()))}"
    parts = [described(work.fixed()), where, threshold if work.contender else ""]
    return "; ".join(part for part in parts if part)


def _ordered(work: Work, conditions: Sequence[str]) -> list[pd.Series]:
    """Return the cases by condition, the coldest first, and by time within each."""
    states = list(CACHE_STATES)

    def key(case: pd.Series) -> tuple[object, ...]:
        values = [case[PARAM + name] for name in conditions]
        place = [(states.index(value) if value in states else -1, str(value)) for value in values]
        return (*place, math.inf if case["n"] == 0 else case["median"])

    return sorted((case for _, case in work.cases.iterrows()), key=key)


def _rows(
    work: Work, names: Sequence[str], shown: Sequence[_Column], conditions: Sequence[str]
) -> Iterator[DisplayRow]:
    contender = work.contender
    before: list[str] | None = None
    for case in _ordered(work, conditions):
        words = {name: _word(case[PARAM + name]) for name in names}
        condition = [words[name] for name in conditions] if contender else []
        yield DisplayRow(
            cells=(*map(Cell, words.values()), *(column.cell(case) for column in shown)),
            is_ours=contender is not None and case[PARAM + contender] in OURS,
            is_measured=bool(case["n"] > 0),
            begins=before is not None and condition != before,
        )
        before = condition


def _word(value: object) -> str:
    return "" if pd.isna(value) else str(value)  # type: ignore[call-overload]


def _samples(case: pd.Series) -> Cell:
    """Return the number of usable samples, and beside it what was left out."""
    left_out = [
        f"{int(case[f'n_{status}'])} {status}"
        for status in ("failed", "unproved")
        if case[f"n_{status}"]
    ]
    text = str(int(case["n"]))
    return Cell(" + ".join([text, *left_out]), float(case["n"]))


def _median(case: pd.Series) -> Cell:
    """Return the median, or why there is none."""
    if case["n"] == 0:
        return Cell(str(case["status"]))
    return Cell(units.quantity(case["median"], case["unit"]), float(case["median"]))


def _quartiles(case: pd.Series) -> Cell:
    if math.isnan(case["q25"]):
        return Cell(MISSING)
    low, high = float(case["q25"]), float(case["q75"])
    return Cell(units.span(low, high, case["unit"]), high - low)


def _quantity(name: str) -> Callable[[pd.Series], Cell]:
    def cell(case: pd.Series) -> Cell:
        value = float(case[name])
        return Cell(MISSING if math.isnan(value) else units.quantity(value, case["unit"]), value)

    return cell


def _digits(name: str) -> Callable[[pd.Series], Cell]:
    return lambda case: Cell(units.digits(float(case[name])), float(case[name]))


def _efficiency(case: pd.Series) -> Cell:
    share = float(case["efficiency"])
    mark = " !" if share > 1 else ""
    return Cell(f"{units.percent(share)}{mark}", share)


def _against_best(case: pd.Series) -> Cell:
    if math.isnan(case["ratio"]):
        return Cell(MISSING)
    if case["verdict"] == BEST_PEER:
        return Cell("1", 1.0)
    bounds = (float(case[name]) for name in ("ratio", "ratio_low", "ratio_high"))
    return Cell(units.interval(*bounds), float(case["ratio"]))


@dataclass(frozen=True)
class _Column:
    """A column of numbers."""

    name: str
    needs: str
    """The column of the table of cases without which this one is left out."""
    cell: Callable[[pd.Series], Cell]

    def is_shown(self, cases: pd.DataFrame) -> bool:
        values = cases[self.needs]
        return bool(((values != "") & values.notna()).any())


_NUMBERS: Final = (
    _Column("n", "n", _samples),
    _Column("median", "n", _median),
    _Column("quartiles", "q25", _quartiles),
    _Column("min", "minimum", _quantity("minimum")),
    _Column("returned", "return_seconds", _quantity("return_seconds")),
    _Column("GB/s", "gb_per_s", _digits("gb_per_s")),
    _Column("limit", "limit_gb_per_s", _digits("limit_gb_per_s")),
    _Column("of limit", "efficiency", _efficiency),
    _Column("read / needed", "read_amplification", _digits("read_amplification")),
    _Column("time / best peer", "ratio", _against_best),
    _Column("verdict", "verdict", lambda case: Cell(str(case["verdict"]) or MISSING)),
)
