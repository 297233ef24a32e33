"""How far a run is: a live table on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console
from run_cells import cell, mark, sample

from harness.experiments import progress as progress_module
from harness.experiments.plan import Cell
from harness.experiments.progress import MOST_RUNNING, Progress, table
from harness.experiments.standing import Standing
from harness.experiments.taken import Line

LOADS = cell("x", "y", name="loads", size=1)
WRITES = cell("z", name="writes")
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def said(lines: list[Line], *, before: list[Line], is_terminal: bool) -> list[str]:
    """Return what is shown of a run with these lines."""
    file = io.StringIO()
    console = Console(file=file, width=100, force_terminal=is_terminal)
    with Progress(console, jobs=2) as progress:
        progress.planned([LOADS, WRITES], before)
        for line in lines:
            progress.heard(line)
        progress.waiting()
    return ESCAPES.sub("", file.getvalue()).splitlines()


def rows(standing: Standing) -> list[list[str]]:
    file = io.StringIO()
    Console(file=file, width=100).print(table(standing))
    return [line.split() for line in file.getvalue().splitlines()]


def test_without_a_terminal_a_line_at_the_start_and_each_reason_once() -> None:
    refused = {"status": "skipped", "reason": "no [device]"}
    lines: list[Line] = [sample(LOADS, turn, **refused) for turn in LOADS.turns[:2]]
    lines += [sample(WRITES, WRITES.turns[0], status="failed", reason="no [device]")]
    assert said(lines, before=[], is_terminal=False) == [
        "  0%  6 samples in 2 cells",
        "skipped: work.Sized.time_work('x', 1): no [device]",
        "failed: work.Sized.time_work('z'): no [device]",
    ]


def test_it_says_what_was_taken_before_and_does_not_complain_of_it_again() -> None:
    before: list[Line] = [
        sample(LOADS, turn, status="failed", reason="once") for turn in LOADS.turns[:3]
    ]
    assert said([], before=before, is_terminal=False) == [
        " 50%  6 samples in 2 cells, 3 of them taken before"
    ]


def test_without_a_terminal_a_line_follows_when_some_time_has_passed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress_module, "LINE_SECONDS", 0.0)
    lines: list[Line] = [mark(LOADS, "begin")]
    lines += [sample(LOADS, turn, 2.0 * n) for n, turn in enumerate(LOADS.turns, start=1)]
    lines += [mark(LOADS, "end", 10.0)]
    assert said(lines, before=[], is_terminal=False) == [
        "  0%  6 samples in 2 cells",
        "  0%  0 of 2 cells done, 1 running",
        " 17%  0 of 2 cells done, 1 running",
        " 33%  0 of 2 cells done, 1 running, 5 s left",
        " 50%  0 of 2 cells done, 1 running, 4 s left",
        " 67%  1 of 2 cells done, 0 running, 3 s left",
        " 67%  1 of 2 cells done, 0 running, 3 s left",
        " 67%  1 of 2 cells done, 0 running, 3 s left",
    ]


def test_the_probing_of_limits_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "LINE_SECONDS", 0.0)
    file = io.StringIO()
    with Progress(Console(file=file, width=100)) as progress:
        progress.planned([LOADS], [])
        progress.probing("sequential_read")
    assert file.getvalue().splitlines()[-1] == "  0%  probing the machine: sequential_read"


def test_on_a_terminal_the_table_names_the_comparisons_and_the_cells_under_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress_module, "REDRAW_SECONDS", 0.0)
    lines: list[Line] = [mark(LOADS, "begin")]
    lines += [sample(LOADS, turn, 2.0 * n) for n, turn in enumerate(LOADS.turns[:3])]
    shown = said(lines, before=[], is_terminal=True)
    last = max(number for number, line in enumerate(shown) if "comparison" in line)
    assert [line.split() for line in shown[last : last + 5]] == [
        ["comparison", "cells", "done", "running", "failed", "samples", "left"],
        ["loads", "1", "0", "1", "0", "4", "1"],
        ["writes", "1", "0", "0", "0", "2", "2"],
        ["→", "loads", "size=1"],
        ["0", "of", "2", "cells", "done,", "1", "running,", "3", "s", "left"],
    ]


def test_the_table_counts_what_is_done_and_what_has_failed() -> None:
    standing = Standing([LOADS, WRITES])
    for turn in LOADS.turns:
        standing.heard(sample(LOADS, turn, status="failed"))
    standing.heard(sample(WRITES, WRITES.turns[0]))
    assert rows(standing) == [
        ["comparison", "cells", "done", "running", "failed", "samples", "left"],
        ["loads", "1", "1", "0", "1", "4", "0"],
        ["writes", "1", "0", "0", "0", "2", "1"],
    ]


def test_of_many_cells_under_way_some_are_named() -> None:
    cells: list[Cell] = [cell("x", name="loads", size=n) for n in range(MOST_RUNNING + 3)]
    standing = Standing(cells)
    for running in cells:
        standing.heard(mark(running, "begin"))
    named = [" ".join(row) for row in rows(standing)[2:]]
    assert named == [*(f"→ loads size={n}" for n in range(MOST_RUNNING)), "→ and 3 more"]
