"""Regret of one choice for all: the arithmetic, what is left out, and the command."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from report_builders import write_run

from harness.commands.regret import command
from harness.errors import InputError
from harness.records import Record
from harness.report.regret import regrets

TIMES = {
    (1, 32): {"a": 2.0, "b": 1.0},
    (1, 64): {"a": 1.0, "b": 3.0},
    (2, 32): {"a": 1.5, "b": 1.5},
    (2, 64): {"a": 9.0, "b": 9.0},
}
BENCHMARK = "data_loading.WorkersAndBatchSize.time_end_to_end"


def test_the_least_mean_regret_comes_first() -> None:
    found = regrets(TIMES)
    assert [regret.choice for regret in found] == [(1, 32), (2, 32), (1, 64), (2, 64)]
    first = found[0]
    assert (first.mean, first.worst, first.worst_for) == (0.5, 1.0, "a")
    assert (first.fastest_for, first.among_first_for) == (1, 2)
    assert [regret.mean for regret in found] == [0.5, 0.5, 1.0, 8.0]
    assert (found[-1].fastest_for, found[-1].among_first_for) == (0, 0)


def test_a_choice_that_was_not_measured_for_all_is_left_out_and_still_is_the_best_for_one() -> None:
    found = regrets({**TIMES, (4, 32): {"a": 0.5}})
    assert (4, 32) not in [regret.choice for regret in found]
    by_choice = {regret.choice: regret for regret in found}
    assert by_choice[1, 64].mean == pytest.approx((1.0 + 2.0) / 2)
    assert regrets({}) == []


@given(
    st.lists(
        st.lists(st.floats(0.01, 100), min_size=3, max_size=3),
        min_size=1,
        max_size=6,
    )
)
def test_regret_is_never_negative_and_someone_is_fastest(rows: list[list[float]]) -> None:
    times = {(index,): dict(zip("abc", row, strict=True)) for index, row in enumerate(rows)}
    found = regrets(times)
    assert len(found) == len(rows)
    assert all(0 <= regret.mean <= regret.worst + 1e-9 for regret in found)
    assert sum(regret.fastest_for for regret in found) >= 3
    assert [regret.mean for regret in found] == sorted(regret.mean for regret in found)
    slower = {choice: {work: 7 * t for work, t in of.items()} for choice, of in times.items()}
    assert [r.mean for r in regrets(slower)] == pytest.approx([r.mean for r in found])


def run(folder: Path) -> Path:
    """Samples in which one worker and 32 items are best for JPEG files, two for tensors."""
    records = []
    product = itertools.product((1, 2), (32, 64), ("resnet18", "vit_b_32"), ("jpeg", "tensors"))
    for index, (workers, batch, architecture, kind) in enumerate(product):
        wanted = 1 if kind == "jpeg" else 2
        value = 1.0 + (workers != wanted) * 0.5 + (batch == 64) * 0.25
        params = {
            "workers": workers,
            "batch_size": batch,
            "architecture": architecture,
            "kind": kind,
            "items": 64,
        }
        records.append(
            Record(
                benchmark=BENCHMARK,
                params=params,
                value=value,
                cell=str(index),
                started_at="2026-11-21T08:15:00.000+00:00",
            )
        )
    return write_run(folder / "run.jsonl", records)


def test_the_command_ranks_the_choices_of_each_kind(tmp_path: Path) -> None:
    words = ["--choose", "workers", "--choose", "batch_size", "--each", "kind", "--markdown"]
    done = CliRunner().invoke(command, [str(run(tmp_path)), *words])
    assert done.exit_code == 0, done.output
    jpeg, tensors = done.output.split("###")[1:]
    assert "kind=jpeg; over 2 cases" in jpeg
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in jpeg.splitlines()]
    ranked = [row for row in rows if row and row[0].isdigit()]
    assert [row[:2] for row in ranked] == [["1", "32"], ["1", "64"], ["2", "32"], ["2", "64"]]
    assert ranked[1][3:] == ["25.00 %", "25.00 %", "0", "2"]
    first = next(line for line in tensors.splitlines() if line.startswith(("| 1", "| 2")))
    assert first.startswith("| 2 | 32 |")
    assert CliRunner().invoke(command, [str(tmp_path / "run.jsonl"), *words[:2]]).exit_code == 0


def test_a_parameter_that_does_not_vary_is_refused(tmp_path: Path) -> None:
    path = run(tmp_path)
    for name in ("worker", "items"):
        done = CliRunner().invoke(command, [str(path), "--choose", name])
        assert isinstance(done.exception, InputError)
        assert f"no parameter {name!r} that varies" in str(done.exception)
