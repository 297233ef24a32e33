"""How far a run is: a bar on a terminal, a line now and then elsewhere, and the time left."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, TaskID, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bar

from harness.experiments.plan import Group, Turn
from harness.experiments.runner import Watcher
from harness.records import Record

LINE_SECONDS: Final = 10.0
"""Between two lines where there is no terminal."""


class TimeLeft:
    """Estimates the time of the samples to come, each by what its like has taken so far."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self._group_of = {turn.case.id: group.name for group in groups for turn in group.turns}
        self._left = Counter(turn.case.id for group in groups for turn in group.turns)
        self._seconds: dict[str, list[float]] = {}

    @property
    def samples(self) -> int:
        """Samples that are left."""
        return self._left.total()

    def taken(self, case_id: str, seconds: float) -> None:
        """Take note of a sample."""
        self._left[case_id] -= 1
        self._seconds.setdefault(case_id, []).append(seconds)

    def dropped(self, case_id: str) -> None:
        """Take note that a case has no more samples."""
        self._left[case_id] = 0

    @property
    def seconds(self) -> float | None:
        """Expected time of what is left: by the case, else its comparison, else all samples."""
        if not self._seconds:
            return None
        cases = {case: statistics.median(taken) for case, taken in self._seconds.items()}
        of_group: dict[str, list[float]] = {}
        for case, median in cases.items():
            of_group.setdefault(self._group_of[case], []).append(median)
        groups = {name: statistics.fmean(medians) for name, medians in of_group.items()}
        overall = statistics.fmean(cases.values())
        return sum(
            count * cases.get(case, groups.get(self._group_of[case], overall))
            for case, count in self._left.items()
        )


class Progress(Watcher):
    """A watcher that shows the progress; a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._total = 0
        self._left = TimeLeft([])
        self._line_at = time.monotonic()
        self._said: set[tuple[str, str, str | None]] = set()
        self._bar: Bar | None = None
        self._task = TaskID(0)

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
            self._bar = Bar(*columns, console=self._console, transient=True)
            self._task = self._bar.add_task("", total=None)
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def planned(self, groups: Sequence[Group]) -> None:
        """Begin to count."""
        self._left = TimeLeft(groups)
        self._total = self._left.samples
        self._say(f"{self._total} samples of {len(groups)} comparisons", now=True)

    def probing(self, limit: str) -> None:
        """Say which limit is probed."""
        self._say(f"probing the machine: {limit}")

    def taking(self, group: Group, turn: Turn) -> None:
        """Say which comparison is under way, and how long the rest takes."""
        seconds = self._left.seconds
        left = "" if seconds is None else f", {duration(seconds)} left"
        self._say(f"{group.name}, round {turn.round + 1} of {len(group.rounds)}{left}")

    def taken(self, turn: Turn, record: Record, seconds: float) -> None:
        """Count a sample; say what is wrong with it, once for all cases of a benchmark."""
        self._left.taken(turn.case.id, seconds)
        what = turn.case.benchmark, record.status, record.reason
        if record.status != "ok" and what not in self._said:
            self._said.add(what)
            line = f"{record.status}: {turn.case.id}: {record.reason}"
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def dropped(self, case_id: str) -> None:
        """Take a case out of the count."""
        self._left.dropped(case_id)

    def _say(self, line: str, *, now: bool = False) -> None:
        done = self._total - self._left.samples
        if self._bar is not None:
            total = self._total or None
            self._bar.update(self._task, description=line, completed=done, total=total)
        elif now or time.monotonic() - self._line_at >= LINE_SECONDS:
            share = done / self._total if self._total else 0.0
            self._console.print(f"{share:4.0%}  {line}", markup=False, highlight=False)
            self._line_at = time.monotonic()


def duration(seconds: float) -> str:
    """Return a time as ``40 s`` or ``3 min 20 s``."""
    whole = max(round(seconds), 0)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02} s"
