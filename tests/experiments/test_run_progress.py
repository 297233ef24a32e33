"""How far a run is: the time that is left, and what is said where there is no terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from harness.benchmark import Benchmark
from harness.discovery import Case
from harness.experiments.plan import Group, Turn
from harness.experiments.progress import Progress, TimeLeft, duration
from harness.records import Record
from harness.sample import named


def turn(who: str, number: int = 0) -> Turn:
    return Turn(Case("work", Benchmark, "time_work", named(["who"], [who])), number)


def group(name: str, *contenders: str, rounds: int = 2) -> Group:
    return Group(name, tuple(tuple(turn(who, n) for who in contenders) for n in range(rounds)))


def test_time_left_is_unknown_before_the_first_sample_and_nothing_at_the_end() -> None:
    left = TimeLeft([group("a", "x")])
    assert (left.samples, left.seconds) == (2, None)
    left.taken(turn("x").case.id, 3.0)
    assert (left.samples, left.seconds) == (1, 3.0)
    left.taken(turn("x").case.id, 5.0)
    assert (left.samples, left.seconds) == (0, 0.0)


def test_a_case_is_expected_to_take_what_it_took_else_what_its_like_took() -> None:
    left = TimeLeft([group("a", "x", "y"), group("b", "z")])
    left.taken(turn("x").case.id, 2.0)
    # One more of x, two of y in the same comparison, two of z in another one.
    assert left.seconds == pytest.approx(2.0 + 2 * 2.0 + 2 * 2.0)
    left.taken(turn("y").case.id, 6.0)
    assert left.seconds == pytest.approx(2.0 + 6.0 + 2 * 4.0)
    left.dropped(turn("z").case.id)
    assert left.seconds == pytest.approx(2.0 + 6.0)
    assert left.samples == 2


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (125, "2 min 05 s"), (-1, "0 s")],
)
def test_durations_are_read_by_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_without_a_terminal_a_line_now_and_then_and_each_reason_once() -> None:
    said = io.StringIO()
    with Progress(Console(file=said, width=200)) as progress:
        progress.planned([group("a", "x", "y")])
        for who in ("x", "y"):
            progress.taking(group("a", "x", "y"), turn(who))
            record = Record("work.Benchmark.time_work", {}, status="skipped", reason="no device")
            progress.taken(turn(who), record, 1.0)
        progress.taken(turn("x", 1), Record("work.Benchmark.time_work", {}), 1.0)
    assert said.getvalue().splitlines() == [
        "  0%  4 samples of 1 comparisons",
        "skipped: work.Benchmark.time_work('x'): no device",
    ]


def test_on_a_terminal_the_bar_counts_and_names_what_is_measured() -> None:
    said = io.StringIO()
    console = Console(file=said, width=120, force_terminal=True)
    with Progress(console) as progress:
        progress.planned([group("whole_model", "x")])
        progress.taken(turn("x"), Record("work.Benchmark.time_work", {}), 90.0)
        progress.taking(group("whole_model", "x"), turn("x", 1))
    assert "whole_model, round 2 of 2, 1 min 30 s left" in said.getvalue()
    assert "50%" in said.getvalue()
