"""Where a run stands: its cells and samples by what became of them, and the time that is left."""

from __future__ import annotations

import random

import pytest
from run_cells import cell, mark, sample

from harness.experiments.plan import GAVE_UP
from harness.experiments.standing import Standing, duration

FIRST = cell("x", "y", name="loads", size=1)
SECOND = cell("x", "y", name="loads", size=2)
THIRD = cell("z", name="writes", rounds=3)
CELLS = (FIRST, SECOND, THIRD)


def numbers(standing: Standing, comparison: str | None = None) -> tuple[int, ...]:
    """Return cells that are done, running, failed, and samples that are left."""
    tally = standing.tally(comparison)
    return tally.done, tally.running, tally.failed, tally.samples_left


def test_before_the_first_sample_all_is_left_and_the_time_unknown() -> None:
    standing = Standing(CELLS)
    assert standing.comparisons == ["loads", "writes"]
    assert numbers(standing) == (0, 0, 0, 11)
    tally = standing.tally()
    assert (tally.cells, tally.samples, tally.statuses) == (3, 11, {})
    assert standing.seconds_left() is None


def test_without_cells_nothing_is_left() -> None:
    assert numbers(Standing(())) == (0, 0, 0, 0)
    assert Standing(()).seconds_left() == 0.0


def test_a_cell_runs_from_its_begin_to_its_end_and_is_done_when_nothing_is_left() -> None:
    standing = Standing(CELLS)
    standing.heard(mark(FIRST, "begin"))
    assert numbers(standing, "loads") == (0, 1, 0, 8)
    assert [cell.id for cell in standing.running] == [FIRST.id]
    for number, turn in enumerate(FIRST.turns, start=1):
        standing.heard(sample(FIRST, turn))
        assert numbers(standing) == (number == 4, number < 4, 0, 11 - number)
    standing.heard(mark(FIRST, "end"))
    assert standing.running == []
    assert numbers(standing, "loads") == (1, 0, 0, 4)
    assert numbers(standing, "writes") == (0, 0, 0, 3)


def test_a_cell_that_was_interrupted_is_neither_running_nor_done() -> None:
    standing = Standing(CELLS)
    standing.heard(mark(FIRST, "begin"))
    standing.heard(sample(FIRST, FIRST.turns[0]))
    standing.heard(mark(FIRST, "end"))
    assert numbers(standing) == (0, 0, 0, 10)


def test_statuses_are_counted_and_a_cell_with_a_failed_sample_has_failed() -> None:
    standing = Standing(CELLS)
    for turn, status in zip(FIRST.turns, ("ok", "failed", "unproved", "failed"), strict=True):
        standing.heard(sample(FIRST, turn, status=status))
    assert numbers(standing) == (1, 0, 1, 7)
    assert standing.tally("loads").statuses == {"ok": 1, "failed": 2, "unproved": 1}
    assert standing.tally("writes").statuses == {}


@pytest.mark.parametrize(
    "end", [{"status": "skipped"}, {"status": "failed", "extra": {GAVE_UP: True}}]
)
def test_of_a_case_that_is_over_no_other_sample_is_left(end: dict[str, object]) -> None:
    standing = Standing(CELLS)
    standing.heard(sample(FIRST, FIRST.turns[0], **end))
    left = [turn.case.params["who"] for turn in FIRST.turns if turn.case != FIRST.turns[0].case]
    assert numbers(standing) == (0, 0, end["status"] == "failed", 7 + len(left))
    assert left == ["y", "y"]


def test_samples_of_cells_that_are_not_asked_for_are_not_counted() -> None:
    standing = Standing((FIRST,))
    standing.heard(mark(THIRD, "begin"))
    standing.heard(sample(THIRD, THIRD.turns[0]))
    assert numbers(standing) == (0, 0, 0, 4)


def test_samples_that_are_not_asked_for_are_not_counted_in_a_cell_that_is() -> None:
    standing = Standing((FIRST,))
    wider = cell("x", "y", "z", name="loads", size=1, rounds=5)
    assert wider.id == FIRST.id
    for turn in wider.turns:
        standing.heard(sample(wider, turn))
    assert numbers(standing) == (1, 0, 0, 0)
    assert standing.tally().statuses == {"ok": 4}


def test_a_sample_that_was_taken_again_counts_as_what_it_is_now() -> None:
    standing = Standing((FIRST,))
    for status in ("failed", "failed", "ok"):
        standing.heard(sample(FIRST, FIRST.turns[0], status=status))
    assert numbers(standing) == (0, 0, 0, 3)
    assert standing.tally().statuses == {"ok": 1}


def test_the_same_seed_s_and_repetition_s_samples_are_counted_for_their_cells() -> None:
    cells = [cell("x", seed=seed, repetition=n) for seed in (0, 1) for n in (0, 1)]
    standing = Standing(cells)
    for turn in cells[2].turns:
        standing.heard(sample(cells[2], turn))
    assert numbers(standing) == (1, 0, 0, 6)


def test_the_order_in_which_cells_are_heard_of_does_not_matter() -> None:
    lines = [sample(cell, turn, started_at="") for cell in CELLS for turn in cell.turns]
    random.Random(1).shuffle(lines)
    standing = Standing(CELLS)
    for line in lines:
        standing.heard(line)
    assert numbers(standing) == (3, 0, 0, 0)


def test_the_time_left_is_that_of_each_sample_left_and_of_the_starts_of_cells() -> None:
    standing = Standing(CELLS[:2])
    standing.heard(mark(FIRST, "begin", 0))
    for turn, second in zip(FIRST.turns, (10, 11, 14), strict=False):
        standing.heard(sample(FIRST, turn, second))
    # x took 1 and y 3 seconds. Left are a y (x was the last to begin, and is taken), and a cell.
    left = FIRST.turns[3].case.params["who"], *(turn.case.params["who"] for turn in SECOND.turns)
    assert sorted(left) == ["x", "x", "y", "y", "y"]
    # Nothing of the second size is known but what the benchmark took: the median of 1 and 3.
    assert standing.seconds_left() == pytest.approx(3 + 4 * 2 + 10)
    assert standing.seconds_left(jobs=2) == pytest.approx((3 + 4 * 2 + 10) / 2)
    # More jobs than cells do not help.
    assert standing.seconds_left(jobs=50) == pytest.approx((3 + 4 * 2 + 10) / 2)


def test_nothing_is_left_at_the_end() -> None:
    standing = Standing((FIRST,))
    for turn in FIRST.turns:
        standing.heard(sample(FIRST, turn))
    assert standing.seconds_left() == 0.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3599.6, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (-1, "0 s"),
    ],
)
def test_durations_are_read_by_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text
