"""What an experiment would cost: from the times in stored records, or honestly unknown."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console
from run_cells import cell, mark, sample

from harness.experiments import Experiment, call_for
from harness.experiments.estimate import START_SECONDS, Estimate, estimate
from harness.experiments.plan import Cell
from harness.experiments.sections import parse
from harness.records import RunHeader, RunWriter

LOADS = cell("x", "y", name="loads", size=1)
WRITES = cell("z", name="writes", rounds=3)


def experiment(tmp_path: Path, cells: Sequence[Cell], jobs: int = 1) -> Experiment:
    comparison = {"name": "loads", "benchmark": "work.Sized.time_work"}
    section = parse({"title": "T", "jobs": jobs, "comparisons": [comparison]}, "here")
    return Experiment(call_for("toy", directory=tmp_path), section, tuple(cells))


def stored(path: Path, where: Cell, seconds: float, **fields: object) -> None:
    """Write a file in which each sample of a cell takes so many seconds."""
    with RunWriter.create(path, RunHeader("id", "", "machine", {})) as writer:
        for number, turn in enumerate(where.turns):
            writer.sample(sample(where, turn, number * seconds, **fields))
        writer.cell(mark(where, "end", len(where.turns) * seconds))


def shown(found: Estimate) -> list[list[str]]:
    file = io.StringIO()
    Console(file=file, width=120).print(found.table())
    return [line.split("  ") for line in file.getvalue().splitlines()]


def test_without_records_samples_and_bytes_are_known_and_the_time_is_not(tmp_path: Path) -> None:
    found = estimate(experiment(tmp_path, [LOADS, WRITES]), tmp_path)
    assert (found.seconds, found.learnt_from) == (None, 0)
    assert [(row.comparison, row.cells, row.samples, row.nbytes) for row in found.rows] == [
        ("loads", 1, 4, 4 * 10**6),
        ("writes", 1, 3, 0),
    ]
    assert found.summary() == (
        "7 samples in 2 cells; moving 4.00 MB; time unknown: nothing like it was measured before"
    )
    assert "?" in shown(found)[1][-1]


def test_times_come_from_what_earlier_runs_took(tmp_path: Path) -> None:
    stored(tmp_path / "results/runs/toy/machine-1/a.jsonl", LOADS, 2.5)
    found = estimate(experiment(tmp_path, [LOADS]), tmp_path)
    assert found.learnt_from == 4
    assert found.seconds == pytest.approx(4 * 2.5 + START_SECONDS)
    assert found.summary() == (
        "4 samples in 1 cell; moving 4.00 MB; about 13 s, from 4 earlier samples"
    )


def test_reference_results_tell_where_runs_do_not(tmp_path: Path) -> None:
    stored(tmp_path / "results/reference/machine/quick.jsonl", LOADS, 2.5, cell="")
    defined = experiment(tmp_path, [LOADS])
    # The last sample of a file that names no cells has no end.
    assert estimate(defined, tmp_path).learnt_from == 3
    assert estimate(defined, tmp_path).seconds == pytest.approx(4 * 2.5 + START_SECONDS)
    stored(tmp_path / "results/runs/toy/machine-1/a.jsonl", LOADS, 1.0)
    assert estimate(defined, tmp_path).seconds == pytest.approx(4 * 1.0 + START_SECONDS)


def test_what_knows_the_cases_is_believed_more_than_what_knows_others(tmp_path: Path) -> None:
    stored(tmp_path / "results/runs/toy/machine-1/a.jsonl", cell("x", "y", size=5), 1.0)
    stored(tmp_path / "results/reference/machine/quick.jsonl", LOADS, 2.5)
    found = estimate(experiment(tmp_path, [LOADS]), tmp_path)
    assert found.seconds == pytest.approx(4 * 2.5 + START_SECONDS)


def test_jobs_share_the_time(tmp_path: Path) -> None:
    stored(tmp_path / "results/runs/a.jsonl", LOADS, 2.5)
    once = estimate(experiment(tmp_path, [LOADS]), tmp_path).seconds
    twice = estimate(experiment(tmp_path, [LOADS], jobs=2), tmp_path).seconds
    assert once is not None and twice is not None
    assert twice == pytest.approx(once / 2)


def test_a_damaged_file_says_nothing_and_stops_nothing(tmp_path: Path) -> None:
    stored(tmp_path / "results/runs/a.jsonl", LOADS, 2.5)
    (tmp_path / "results/runs/b.jsonl").write_bytes(b"damaged\nfile\n")
    assert estimate(experiment(tmp_path, [LOADS]), tmp_path).learnt_from == 4


def test_what_nothing_is_like_is_said_and_not_counted(tmp_path: Path) -> None:
    stored(tmp_path / "results/runs/a.jsonl", LOADS, 2.5)
    other = Cell("other", "work.Sized.time_other", {}, cell("x").rounds)
    turns = [
        tuple(
            type(turn)(type(turn.case)("work", turn.case.cls, "time_other", {}), turn.round)
            for turn in row
        )
        for row in other.rounds
    ]
    other = Cell("other", "work.Sized.time_other", {}, tuple(turns))
    found = estimate(experiment(tmp_path, [LOADS, other]), tmp_path)
    assert found.seconds == pytest.approx(4 * 2.5 + START_SECONDS)
    assert found.summary().endswith(
        "about 13 s, from 4 earlier samples; 2 samples not counted, as nothing is like them"
    )
