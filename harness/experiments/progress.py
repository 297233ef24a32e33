"""How far a run is: a live table on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from harness.experiments.plan import Cell, case_id
from harness.experiments.standing import Standing, duration
from harness.experiments.taken import Line
from harness.experiments.watcher import Watcher
from harness.records import Record

LINE_SECONDS: Final = 10.0
"""Between two lines where there is no terminal."""
REDRAW_SECONDS: Final = 0.2
MOST_RUNNING: Final = 8
"""Cells under way that are named; of more, their number."""


class Progress(Watcher):
    """A watcher that shows the progress; a context manager.

    It draws between samples and has no thread of its own, so that it never runs beside a sample of
    this process.
    """

    def __init__(self, console: Console, jobs: int = 1) -> None:
        self._console = console
        self._jobs = jobs
        self._standing = Standing(())
        self._drawn_at = time.monotonic()
        self._said: set[tuple[str, str, str | None]] = set()
        self._probing = ""
        self._live: Live | None = None

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live = Live(console=self._console, transient=True, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def planned(self, cells: Sequence[Cell], before: Sequence[Line]) -> None:
        """Begin to count."""
        self._standing = Standing(cells)
        for line in before:
            self._standing.heard(line)
        tally = self._standing.tally()
        taken = tally.samples - tally.samples_left
        known = f", {taken} of them taken before" if taken else ""
        self._show(f"{tally.samples} samples in {tally.cells} cells{known}", now=True)

    def probing(self, limit: str) -> None:
        """Say which limit is probed."""
        self._probing = f"probing the machine: {limit}"
        self._show(self._probing)

    def heard(self, line: Line) -> None:
        """Count; say what is wrong with a sample, once for all cases of a benchmark."""
        self._probing = ""
        self._standing.heard(line)
        if isinstance(line, Record):
            self._complain(line)
        self._show(self._line())

    def waiting(self) -> None:
        """Let the time left go on."""
        self._show(self._line())

    def _complain(self, record: Record) -> None:
        what = record.benchmark, record.status, record.reason
        if record.status != "ok" and what not in self._said:
            self._said.add(what)
            line = f"{record.status}: {case_id(record)}: {record.reason}"
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _line(self) -> str:
        tally = self._standing.tally()
        seconds = self._standing.seconds_left(self._jobs)
        left = "" if seconds is None else f", {duration(seconds)} left"
        failed = f", {tally.failed} failed" if tally.failed else ""
        return f"{tally.done} of {tally.cells} cells done, {tally.running} running{failed}{left}"

    def _show(self, line: str, *, now: bool = False) -> None:
        since = time.monotonic() - self._drawn_at
        if self._live is not None:
            if now or since >= REDRAW_SECONDS:
                self._live.update(Group(table(self._standing), Text(self._probing or line)))
                self._live.refresh()
                self._drawn_at = time.monotonic()
        elif now or since >= LINE_SECONDS:
            self._console.print(f"{self._share():4.0%}  {line}", markup=False, highlight=False)
            self._drawn_at = time.monotonic()

    def _share(self) -> float:
        tally = self._standing.tally()
        return 1 - tally.samples_left / tally.samples if tally.samples else 1.0


def table(standing: Standing) -> Table:
    """Return the numbers of each comparison, and the cells under way."""
    shown = Table(box=None, pad_edge=False, header_style="underline")
    shown.add_column("comparison")
    for name in ("cells", "done", "running", "failed", "samples", "left"):
        shown.add_column(name, justify="right")
    for comparison in standing.comparisons:
        tally = standing.tally(comparison)
        numbers = tally.cells, tally.done, tally.running, tally.failed
        style = "red" if tally.failed else "dim" if tally.done == tally.cells else ""
        texts = map(str, (*numbers, tally.samples, tally.samples_left))
        shown.add_row(comparison, *texts, style=style)
    running = standing.running
    for cell in running[:MOST_RUNNING]:
        shown.add_row(Text(f"  → {cell.comparison} {cell.label}", style="bold"))
    if len(running) > MOST_RUNNING:
        shown.add_row(Text(f"  → and {len(running) - MOST_RUNNING} more"))
    return shown
