"""A case over the commits: its values in order, the steps in them, and the changes between steps.

Steps are asv's: a piecewise constant function fitted by exact dynamic programming (Potts), whose
number of steps a criterion like BIC chooses (`asv.step_detect`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import pandas as pd

from harness.errors import InputError
from harness.report.charts.history import HistoryPoint, Step
from harness.report.ratios import groups_of, median_interval
from harness.report.table import Results, usable
from harness.statistics import THRESHOLD_FLOOR, bootstrap_median

FEWEST: Final = 4
"""Commits from which on steps are looked for: of fewer, noise decides."""
RESAMPLES: Final = 400
"""For the interval of one value; a series has many of them."""


@dataclass(frozen=True)
class Change:
    """A case became another at a commit."""

    case: str
    unit: str
    commit: str
    """The first one with the new level."""
    date: str
    """ISO 8601."""
    before: float
    after: float
    commits: int
    """How many commits kept the new level: one alone may be an outlier."""

    @property
    def ratio(self) -> float:
        """After over before: above 1, it takes longer."""
        return self.after / self.before if self.before else math.inf


@dataclass(frozen=True)
class History:
    """One case in one setting."""

    case: str
    setting: str
    unit: str
    points: tuple[HistoryPoint, ...]
    """One a commit, the oldest first."""
    steps: tuple[Step, ...]
    """None if there are too few commits to look for them."""
    slower_than_best: float | None
    """The latest level over the best earlier one, where asv calls that a regression."""

    @property
    def changes(self) -> tuple[Change, ...]:
        """All changes, the oldest first."""
        return tuple(self._change(*pair) for pair in pairwise(self.steps))

    def _change(self, before: Step, after: Step) -> Change:
        point = self.points[after.first]
        commits = after.last - after.first + 1
        levels = before.level, after.level
        return Change(self.case, self.unit, point.commit, point.date, *levels, commits)


def histories(results: Results, threshold: float = THRESHOLD_FLOOR) -> list[History]:
    """Return the history of each case that asv measured at two commits or more.

    Args:
        results: what was loaded.
        threshold: the change that counts, as a share; steps that are closer are one.
    """
    own = usable(results.samples)
    own = own[own["runner"] == "asv"]
    commits = {run.run: run.commit for run in results.runs}
    dates = {run.commit: run.started_at for run in results.runs if run.runner == "asv"}
    own = own.assign(commit=own["run"].map(commits))
    order = in_order(dates) if dates else []
    return [
        _history(str(key[1]), str(key[0]), rows, order, dates, threshold)
        for key, rows in own.groupby(["setting", "case"], sort=False)
        if rows["commit"].nunique() > 1 and isinstance(key, tuple)
    ]


def in_order(dates: Mapping[str, str]) -> list[str]:
    """Return commits by date, parents before their children where git knows them.

    asv keeps the date of the author: a commit that was moved may be older than its parent.
    """
    from harness.worktree import git

    by_date = sorted(dates, key=lambda commit: dates[commit])
    try:
        log = git(Path(), "rev-list", "--date-order", "--reverse", *by_date, "--")
    except InputError:
        return by_date
    return [commit for commit in log.split() if commit in dates]


def steps_in(
    points: Sequence[HistoryPoint], threshold: float = THRESHOLD_FLOOR
) -> tuple[list[Step], float | None]:
    """Return the steps in a series, and how much slower it is now than at its best.

    Args:
        points: in the order of the commits.
        threshold: the change that counts.

    Returns:
        The steps, neighbours further apart than the threshold; and the latest level over the best
        one before it where `asv.step_detect.detect_regressions` finds that it got worse and stayed
        so, else None. Both are empty for fewer than `FEWEST` points.
    """
    from asv.step_detect import detect_regressions, detect_steps

    if len(points) < FEWEST:
        return [], None
    found = detect_steps([point.value for point in points], [_weight(point) for point in points])
    latest, best, positions = detect_regressions(found, threshold=threshold)
    slower = latest / best if positions and best else None
    steps = [Step(left, right - 1, float(level)) for left, right, level, *_ in found]
    return _apart(steps, threshold), slower


def _history(
    case: str,
    setting: str,
    rows: pd.DataFrame,
    order: Sequence[str],
    dates: Mapping[str, str],
    threshold: float,
) -> History:
    parts = {str(commit): part for commit, part in rows.groupby("commit", sort=False)}
    points = tuple(
        HistoryPoint(commit, dates[commit], *_value(parts[commit]))
        for commit in order
        if commit in parts
    )
    steps, slower = steps_in(points, threshold)
    return History(case, setting, str(rows["unit"].iloc[0]), points, tuple(steps), slower)


def _value(rows: pd.DataFrame) -> Iterator[float]:
    """Yield the median at one commit and the ends of its interval, NaN where they are unknown."""
    if (rows["n"] > 1).any():
        median, low, high = median_interval(rows)
    else:
        values = rows["value"].to_numpy()
        median = float(rows["value"].median())
        low, high = bootstrap_median(values, groups_of(rows), resamples=RESAMPLES)
    yield median
    yield from (low, high) if math.isfinite(high - low) else (math.nan, math.nan)


def _weight(point: HistoryPoint) -> float | None:
    """Return a value's weight as asv has it: the narrower its interval, the more it counts."""
    width = point.high - point.low
    return 2 / width if width > 0 else None


def _apart(steps: Sequence[Step], threshold: float) -> list[Step]:
    """Join steps whose levels differ by less than the threshold."""
    joined: list[Step] = []
    for step in steps:
        while joined and _are_close(joined[-1].level, step.level, threshold):
            step = _joined(joined.pop(), step)
        joined.append(step)
    return joined


def _are_close(a: float, b: float, threshold: float) -> bool:
    low, high = sorted((a, b))
    return high == low or (low > 0 and high / low <= 1 + threshold)


def _joined(a: Step, b: Step) -> Step:
    """Return two neighbours as one, at the mean over their commits."""
    first, second = a.last - a.first + 1, b.last - b.first + 1
    level = (a.level * first + b.level * second) / (first + second)
    return Step(a.first, b.last, level)
