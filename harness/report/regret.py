"""What one choice for all costs: by how much it is slower than the best choice for each work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any, Final

from harness import units
from harness.errors import InputError, nearest
from harness.records import Param
from harness.report.display import Cell, DisplayRow, DisplayTable
from harness.report.table import PARAM
from harness.report.work import Work, described

FIRST: Final = 3
"""As published, a choice is also judged by how often it is among so many fastest ones."""

Times = Mapping[str, float]
"""Seconds of one choice, by the work that was done."""


@dataclass(frozen=True)
class Regret:
    """One choice, over all works.

    Regret for one work is time(choice) / time(best choice for it) - 1 (Strassenburg et al.,
    "Alsatian", SIGMOD 2025, choice of batch size and workers).
    """

    choice: tuple[Param, ...]
    mean: float
    """Over all works."""
    worst: float
    worst_for: str
    """The work whose regret is the largest."""
    fastest_for: int
    """Number of works for which no choice was faster."""
    among_first_for: int
    """Number of works for which at most two choices were faster."""


def regrets(times: Mapping[tuple[Param, ...], Times]) -> list[Regret]:
    """Return every choice that was measured for all works, the least mean regret first.

    Args:
        times: for each choice the seconds of each work.
    """
    works = dict.fromkeys(work for found in times.values() for work in found)
    ranked = {
        work: sorted(found[work] for found in times.values() if work in found) for work in works
    }
    return sorted(
        (
            _regret(choice, found, ranked)
            for choice, found in times.items()
            if len(found) == len(works)
        ),
        key=lambda regret: regret.mean,
    )


def _regret(
    choice: tuple[Param, ...], found: Times, ranked: Mapping[str, Sequence[float]]
) -> Regret:
    by_work = {work: found[work] / times[0] - 1 for work, times in ranked.items()}
    worst_for = max(by_work, key=lambda work: by_work[work])
    return Regret(
        choice=choice,
        mean=mean(by_work.values()),
        worst=by_work[worst_for],
        worst_for=worst_for,
        fastest_for=sum(found[work] <= times[0] for work, times in ranked.items()),
        among_first_for=sum(found[work] <= times[:FIRST][-1] for work, times in ranked.items()),
    )


def regret_tables(
    works: Sequence[Work], choose: Sequence[str], each: Sequence[str]
) -> Iterator[DisplayTable]:
    """Yield a table for each benchmark whose cases differ in all the parameters to be chosen.

    Args:
        works: what was measured.
        choose: parameters of which one value is to be chosen for all.
        each: parameters for each value of which another choice may be made.

    Raises:
        InputError: no benchmark has these parameters, or none of its choices was measured whole.
    """
    known = dict.fromkeys(name for work in works for name in work.varying())
    for name in (*choose, *each):
        if name not in known:
            raise InputError(
                f"no parameter {name!r} that varies; expected one of {', '.join(known)}"
                f"{nearest(name, known)}"
            )
    fitting = [work for work in works if {*choose, *each} <= set(work.varying())]
    if not fitting:
        raise InputError(f"no benchmark varies all of {', '.join((*choose, *each))}")
    for work in fitting:
        for part in work.split(each):
            yield _table(part, choose, each)


def _times(work: Work, choose: Sequence[str]) -> dict[tuple[Param, ...], dict[str, float]]:
    over = work.varying(*choose)
    times: dict[tuple[Param, ...], dict[str, float]] = {}
    for _, case in work.cases[work.cases["n"] > 0].iterrows():
        choice = tuple(case[PARAM + name] for name in choose)
        done = described({name: case[PARAM + name] for name in over})
        times.setdefault(choice, {})[done] = float(case["median"])
    return times


def _table(work: Work, choose: Sequence[str], each: Sequence[str]) -> DisplayTable:
    times = _times(work, choose)
    found = regrets(times)
    if not found:
        raise InputError(f"{work.benchmark}: no choice of {', '.join(choose)} was measured whole")
    fixed = work.fixed()
    parts = [
        described({name: fixed[name] for name in each if name in fixed}),
        f"over {units.count(len(times[found[0].choice]), 'case')}",
        f"{units.count(len(times) - len(found), 'choice')} not measured for all of them"
        if len(found) < len(times)
        else "",
        "regret: time over that of the best choice, less 1",
    ]
    return DisplayTable(
        title=f"{work.benchmark}: one choice of {' and '.join(choose)} for all",
        subtitle="; ".join(part for part in parts if part),
        columns=(
            *choose,
            "worst for",
            "mean regret",
            "worst regret",
            "fastest for",
            f"of the first {FIRST} for",
        ),
        rows=tuple(_row(regret) for regret in found),
        words=len(choose) + 1,
    )


def _row(regret: Regret) -> DisplayRow:
    numbers: list[tuple[str, Any]] = [
        (f"{regret.mean:.2%}".replace("%", " %"), regret.mean),
        (f"{regret.worst:.2%}".replace("%", " %"), regret.worst),
        (str(regret.fastest_for), regret.fastest_for),
        (str(regret.among_first_for), regret.among_first_for),
    ]
    words = [Cell(str(value)) for value in (*regret.choice, regret.worst_for)]
    return DisplayRow((*words, *(Cell(text, float(key)) for text, key in numbers)))
