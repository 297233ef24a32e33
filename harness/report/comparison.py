"""Two sides of samples, case by case: ratio, interval and verdict, and what broke."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import pandas as pd

from harness import exit_codes
from harness.errors import InputError
from harness.report import table
from harness.report.ratios import median_interval, ratio_of
from harness.report.table import PARAM, STALE, case_name
from harness.report.thresholds import Threshold
from harness.statistics import THRESHOLD_FLOOR, Ratio, verdict
from harness.units import count

BROKEN: Final = "broken"
NEW: Final = "new"
NOT_COMPARED: Final = "not compared"
"""One side, or neither, was to do this work here: no answer, and none was asked for."""
FASTER, SLOWER, UNCHANGED, CANNOT_TELL = "faster", "slower", "unchanged", "cannot tell"
VERDICTS: Final = (BROKEN, SLOWER, CANNOT_TELL, FASTER, UNCHANGED, NEW, NOT_COMPARED)
"""All verdicts, what needs attention first."""


@dataclass(frozen=True)
class Compared:
    """One case on both sides."""

    case: str
    verdict: str
    unit: str
    base: float | None
    """Median of the base, side A."""
    judged: float | None
    """Median of the side that is judged, B."""
    ratio: Ratio | None
    """B over A: above 1, B takes longer."""
    threshold: float
    reason: str = ""
    """Why there is no ratio, or what broke."""


@dataclass(frozen=True)
class Sides:
    """What the two sides are called, and what it means when one has nothing to compare."""

    base: str = "A"
    judged: str = "B"
    vanished: str = BROKEN
    """Verdict on a case that only the base measured."""
    appeared: str = NEW
    """Verdict on a case that only the judged side measured."""


@dataclass(frozen=True)
class _Judge:
    """By what a pair of sides is judged."""

    threshold: Threshold
    margin: float
    sides: Sides


def compare(
    a: pd.DataFrame,
    b: pd.DataFrame,
    threshold: Threshold,
    *,
    margin: float = THRESHOLD_FLOOR,
) -> list[Compared]:
    """Judge side B against side A, case by case.

    A case is broken when a sample of it failed in B, or when it was measured in A and is missing
    or skipped in B. Values are times, or other amounts of which less is better.

    Args:
        a: samples of the base.
        b: samples of the side that is judged.
        threshold: the change that counts, by benchmark.
        margin: the change that is too small to matter; see `harness.statistics.verdict`.
    """
    cases_a, cases_b = _by_case(a), _by_case(b)
    names = dict.fromkeys([*cases_a, *cases_b])
    nothing = a.iloc[:0]
    judge = _Judge(threshold, margin, Sides())
    return [
        _compared(name, cases_a.get(name, nothing), cases_b.get(name, nothing), judge)
        for name in names
    ]


def compare_contenders(
    samples: pd.DataFrame,
    by: str,
    base: str,
    threshold: Threshold,
    *,
    margin: float = THRESHOLD_FLOOR,
) -> tuple[list[Compared], list[str]]:
    """Judge every contender of one run against the base contender, where both did the same work.

    Where a contender or the base was skipped (its library is missing, say), or has no such work,
    they are not compared, which is no reason to fail; samples that failed are one.

    Args:
        samples: of one setting.
        by: the parameter that names the contenders.
        base: its value, as text, that the others are judged against.
        threshold: the change that counts, by benchmark.
        margin: the change that is too small to matter.

    Returns:
        The comparisons, and a line for each benchmark that holds no base to compare with.

    Raises:
        InputError: no benchmark has the parameter, or none of them this value.
    """
    column = PARAM + by
    if column not in samples:
        raise InputError(
            f"--by {by}: no such parameter; there are {', '.join(table.param_columns(samples))}"
        )
    named = samples[samples[column].notna()]
    contenders = named[column].map(str)
    if base not in set(contenders):
        values = ", ".join(dict.fromkeys(contenders))
        raise InputError(f"--base {base}: not among the values of {by}: {values}")
    with_base = set(named["benchmark"][contenders == base])
    left_out = set(samples["benchmark"]) - with_base
    named = named[named["benchmark"].isin(with_base)]
    work = [
        case_name(row.benchmark, {**row.params, by: base})
        for row in named[["benchmark", "params"]].itertuples()
    ]
    named = named.assign(contender=named[column].map(str), work=work)
    notes = [f"{name}: not compared, nothing in it has {by}={base}" for name in sorted(left_out)]
    return list(_against(named, base, threshold, margin)), notes


def exit_code(found: Iterable[Compared]) -> int:
    """Return the code that a command ends with: what is worst in ``found`` decides.

    Broken, then slower, then what is undecided. What was not compared is no answer either way, but
    where there is nothing else, nothing was decided.
    """
    verdicts = {item.verdict for item in found} - {NOT_COMPARED}
    if BROKEN in verdicts:
        return exit_codes.BROKEN
    if SLOWER in verdicts:
        return exit_codes.SLOWER
    is_undecided = CANNOT_TELL in verdicts or not verdicts
    return exit_codes.CANNOT_TELL if is_undecided else exit_codes.FINE


def summary_line(found: Sequence[Compared]) -> str:
    """Return how many cases got which verdict, in one line."""
    counts = Counter(item.verdict for item in found)
    parts = [f"{counts[name]} {name}" for name in VERDICTS if counts[name]]
    return f"{count(len(found), 'case')}: {', '.join(parts)}"


def _against(
    samples: pd.DataFrame, base: str, threshold: Threshold, margin: float
) -> Iterator[Compared]:
    """Yield each contender's cases, judged against the base's case of the same work."""
    is_base = samples["contender"] == base
    bases = {str(work): rows for work, rows in samples[is_base].groupby("work", sort=False)}
    nothing = samples.iloc[:0]
    for case, rows in samples[~is_base].groupby("case", sort=False):
        first = rows.iloc[0]
        own_base = bases.get(str(first["work"]), nothing)
        appeared = BROKEN if "failed" in set(own_base["status"]) else NOT_COMPARED
        sides = Sides(base, str(first["contender"]), vanished=NOT_COMPARED, appeared=appeared)
        yield _compared(str(case), own_base, rows, _Judge(threshold, margin, sides))


def _by_case(samples: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {str(name): rows for name, rows in samples.groupby("case", sort=False)}


def _compared(name: str, a: pd.DataFrame, b: pd.DataFrame, judge: _Judge) -> Compared:
    any_side = b if len(b) else a
    limit = judge.threshold(str(any_side["benchmark"].iloc[0]))
    good_a, good_b = table.usable(a), table.usable(b)
    found = None
    judged, reason = _without_ratio(a, b, judge.sides)
    if not judged:
        try:
            found = ratio_of(good_b, good_a)
            judged = verdict(found, limit, judge.margin)
        except InputError as error:
            judged, reason = CANNOT_TELL, str(error)
    base, other = (median_interval(side)[0] if len(side) else None for side in (good_a, good_b))
    unit = str(any_side["unit"].iloc[0])
    return Compared(name, judged, unit, base, other, found, limit, reason)


def _without_ratio(a: pd.DataFrame, b: pd.DataFrame, sides: Sides) -> tuple[str, str]:
    """Return the verdict and its reason where a side has nothing to compare; else nothing."""
    failed = b[b["status"] == "failed"]
    if len(failed):
        return (
            BROKEN,
            f"{len(failed)} of {count(len(b), 'sample')} failed: {failed['reason'].iloc[0]}",
        )
    has_a, has_b = (len(table.usable(side)) > 0 for side in (a, b))
    state_a, state_b = f"{sides.base}: {_state(a)}", f"{sides.judged}: {_state(b)}"
    if has_a and has_b:
        return "", ""
    if has_b:
        return CANNOT_TELL if _is_open(a) else sides.appeared, state_a
    if has_a:
        return CANNOT_TELL if _is_open(b) else sides.vanished, state_b
    return CANNOT_TELL if _is_open(a) or _is_open(b) else NOT_COMPARED, f"{state_a}; {state_b}"


def _is_open(side: pd.DataFrame) -> bool:
    """Tell whether a side was measured, and neither says that the code works nor that it does not.

    A cache stayed warm, or the benchmark has changed since.
    """
    return bool(set(side["status"]) & {"unproved", STALE})


def _state(side: pd.DataFrame) -> str:
    if side.empty:
        return "missing"
    row = side.iloc[0]
    return f"{row['status']}, {row['reason']}" if row["reason"] else str(row["status"])
