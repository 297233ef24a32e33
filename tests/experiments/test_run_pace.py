"""How long samples take: learnt from the times at which they and their cells began and ended."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from run_cells import at, case, cell, mark, sample

from harness.experiments.pace import MOST_KEPT, SLOW, Pace, planned_bytes
from harness.experiments.plan import Cell

CELL = cell("x", "y", rounds=3)


def learnt(where: Cell, seconds: Sequence[float], end: float | None = None) -> Pace:
    """Return what is learnt from the cell's first samples, which began at these times."""
    pace = Pace()
    for turn, second in zip(where.turns, seconds, strict=False):
        pace.taken(sample(where, turn, second))
    if end is not None:
        pace.ended(where.id, at(end))
    return pace


def test_a_sample_takes_until_the_next_one_begins_and_the_last_one_until_its_cell_ends() -> None:
    # x, y, x, y at 0, 1, 4, 6; the last one ends at 11.
    pace = learnt(CELL, [0, 1, 4, 6], end=11)
    assert pace.samples == 4
    assert pace.seconds_of(case("x")) == pytest.approx((1 + 2) / 2)
    assert pace.seconds_of(case("y")) == pytest.approx((3 + 5) / 2)


def test_the_last_sample_of_a_cell_that_has_not_ended_is_not_known_yet() -> None:
    assert learnt(CELL, [0, 1]).samples == 1
    assert learnt(CELL, [0, 1]).seconds_of(case("x")) == 1.0


def test_the_time_between_two_processes_is_nobody_s() -> None:
    pace = Pace()
    first, second, third = CELL.turns[:3]
    pace.taken(sample(CELL, first, 0, process=1))
    pace.taken(sample(CELL, second, 500, process=2))  # the first process was lost
    assert pace.samples == 0
    pace.taken(sample(CELL, third, 502, process=2))
    assert pace.seconds_of(case("y")) == 2.0
    pace.began(CELL.id, at(900))  # the run was stopped, and goes on
    pace.taken(sample(CELL, first, 903, process=2))
    assert pace.samples == 1


def test_cells_that_are_measured_side_by_side_are_told_apart() -> None:
    pace, other = Pace(), cell("z", size=2)
    pace.taken(sample(CELL, CELL.turns[0], 0))
    pace.taken(sample(other, other.turns[0], 1))
    pace.taken(sample(CELL, CELL.turns[1], 10))
    pace.taken(sample(other, other.turns[1], 21))
    assert pace.seconds_of(case("x")) == 10.0
    assert pace.seconds_of(case("z", size=2)) == 20.0


def test_a_case_that_was_never_seen_takes_what_its_benchmark_took() -> None:
    pace = learnt(CELL, [0, 2, 6, 8], end=12)  # 2, 4, 2, 4
    assert pace.seconds_of(case("z")) == pytest.approx(3.0)


def test_of_more_bytes_it_takes_longer_but_of_fewer_no_less_than_the_shortest() -> None:
    small = cell("x", size=2)
    pace = Pace()
    for number, turn in enumerate(small.turns):
        pace.taken(sample(small, turn, number * 4.0, bytes=2 * 10**6))
    assert pace.seconds_of(case("x", size=2)) == 4.0
    assert pace.seconds_of(case("x", size=3)) == pytest.approx(4.0 + 10**6 / SLOW)
    assert pace.seconds_of(case("x", size=1)) == 4.0
    # Without a size its bytes are unknown.
    assert pace.seconds_of(case("x")) == 4.0


def test_samples_that_are_faster_than_fixed_costs_grow_with_their_bytes() -> None:
    fast = cell("x", size=1000)
    pace = Pace()
    for number, turn in enumerate(fast.turns):
        pace.taken(sample(fast, turn, number * 0.5, bytes=10**9))
    assert pace.seconds_of(case("x", size=4000)) == pytest.approx(2.0)


def test_of_several_sizes_the_nearest_one_tells() -> None:
    pace = Pace()
    for size, seconds in ((1, 1.0), (1000, 2.0)):
        sized = cell("x", size=size)
        for number, turn in enumerate(sized.turns):
            pace.taken(sample(sized, turn, number * seconds, bytes=size * 10**6))
    assert pace.seconds_of(case("x", size=999)) == pytest.approx(2.0 * 0.999)
    assert pace.seconds_of(case("x", size=2)) == pytest.approx(1.0 + 10**6 / SLOW)
    assert pace.seconds_of(case("x", size=100)) == 1.0


def test_nothing_is_known_of_another_benchmark() -> None:
    pace = learnt(CELL, [0, 1, 2])
    other = case("x")
    assert pace.seconds_of(other) == 1.0
    assert pace.seconds_of(type(other)("work", other.cls, "time_other", other.params)) is None
    assert Pace().seconds_of(other) is None


def test_records_without_a_time_or_before_the_clock_was_set_back_teach_nothing() -> None:
    pace = learnt(CELL, [0, -5])
    assert pace.samples == 0
    pace.taken(sample(CELL, CELL.turns[2], started_at=""))
    assert pace.samples == 0


def test_records_that_name_no_cell_belong_to_their_file() -> None:
    pace = Pace()
    for turn, second in zip(CELL.turns, (0, 1, 3), strict=False):
        pace.taken(sample(CELL, turn, second, cell=""), "a file")
        pace.taken(sample(CELL, turn, 100 * second, cell=""), "another file")
    assert pace.samples == 4
    assert pace.seconds_of(case("x")) == pytest.approx((1 + 100) / 2)


def test_of_one_case_so_many_samples_are_kept() -> None:
    many = cell("x", rounds=MOST_KEPT + 10)
    assert learnt(many, range(MOST_KEPT + 10)).samples == MOST_KEPT


def test_a_total_counts_unknown_samples_as_the_mean_of_the_known_ones() -> None:
    pace = learnt(CELL, [0, 1, 4, 5], end=8)  # x takes 1, y takes 3
    unknown = type(case("x"))("work", case("x").cls, "time_other", {})
    assert pace.total([case("x"), case("y"), case("y")]) == (pytest.approx(7.0), 0)
    assert pace.total([case("x"), case("y"), unknown]) == (pytest.approx(4 + 2), 1)
    assert pace.total([unknown, unknown]) == (None, 2)
    assert pace.total([]) == (0.0, 0)


def test_a_total_counts_the_starts_of_cells() -> None:
    pace = Pace()
    begin = mark(CELL, "begin", 0)
    pace.began(begin.cell, begin.at)
    for turn, second in zip(CELL.turns, (5, 6, 7), strict=False):
        pace.taken(sample(CELL, turn, second))
    assert pace.total([case("x")], cells=2) == (pytest.approx(1 + 2 * 5), 0)


def test_planned_bytes_are_what_the_class_tells() -> None:
    assert planned_bytes(case("x", size=3)) == 3 * 10**6
    assert planned_bytes(case("x")) is None
