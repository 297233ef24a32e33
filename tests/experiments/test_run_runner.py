"""Runs: every sample becomes a row as it ends, whatever happens, and a stopped run goes on."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from run_toys import make_package, section

from harness.errors import InputError
from harness.experiments import Experiment, Outcome, Part, call_for, chosen_folder, define
from harness.experiments import run as run_experiment
from harness.experiments import share as share_module
from harness.experiments.plan import Cell, key_of
from harness.experiments.run_folder import machine_reserved
from harness.experiments.taken import Line
from harness.experiments.watcher import Watcher
from harness.limits import Limits
from harness.records import CellLine, Record, Run, read_run


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_package(tmp_path_factory.mktemp("run"), "toys_of_runs")


def experiment(tmp_path: Path, package: Path, text: str, **options: Any) -> Experiment:
    file = tmp_path / "toy.toml"
    file.write_text(text)
    return define(
        call_for("toy", directory=tmp_path / "data", file=file, package=package, **options)
    )


def run(defined: Experiment, out: Path, watcher: Watcher | None = None, **part: Any) -> Outcome:
    return run_experiment(defined, chosen_folder(out, defined), watcher, Part(**part))


def runs(out: Path) -> list[Run]:
    return [read_run(path) for path in sorted(out.glob("*.jsonl"))]


def records(out: Path) -> list[Record]:
    return [record for found in runs(out) for record in found.records]


class Seen(Watcher):
    """Remembers what it hears."""

    def __init__(self) -> None:
        self.samples = 0
        self.before: list[Line] = []
        self.lines: list[Line] = []

    def planned(self, cells: Sequence[Cell], before: Sequence[Line]) -> None:
        self.samples = sum(len(cell.turns) for cell in cells)
        self.before = list(before)

    def heard(self, line: Line) -> None:
        self.lines.append(line)


def test_samples_are_rows_in_the_order_of_their_rounds(tmp_path: Path, package: Path) -> None:
    out, seen = tmp_path / "new" / "run", Seen()
    outcome = run(experiment(tmp_path, package, section()), out, seen)
    found = records(out)
    assert [(record.params["contender"], record.round) for record in found] == [
        ("fine", 0),
        ("other", 0),
        ("other", 1),
        ("fine", 1),
        ("fine", 2),
        ("other", 2),
    ]
    assert (outcome.counts, outcome.new, outcome.left) == ({"ok": 6}, 6, 0)
    assert not outcome.is_broken
    begin, *samples, end = seen.lines
    assert isinstance(begin, CellLine) and isinstance(end, CellLine)
    assert (begin.event, end.event, begin.cell) == ("begin", "end", found[0].cell)
    assert samples == found
    assert (seen.samples, seen.before) == (6, [])
    assert {record.runner for record in found} == {"run"}
    assert [record.extra["samples"] for record in found] == [1, 1, 2, 2, 3, 3]


def test_each_cell_has_a_process_of_its_own_and_contenders_share_it(
    tmp_path: Path, package: Path
) -> None:
    out = tmp_path / "run"
    text = section(rounds=2).replace("size = [1]", "size = [1, 2]")
    run(experiment(tmp_path, package, text, words=["repetitions=2", "seeds=0,7"]), out)
    found = records(out)
    cells = {(r.params["size"], r.seed, r.repetition): (r.cell, r.process) for r in found}
    assert len(cells) == len(set(cells.values())) == 8
    assert len(found) == 8 * 4
    for record in found:
        key = record.params["size"], record.seed, record.repetition
        assert (record.cell, record.process) == cells[key]
    assert os.getpid() not in {record.process for record in found}
    assert {record.extra["data"] for record in found} == {str(tmp_path / "data")}
    assert {(record.seed, record.extra["seed"]) for record in found} == {(0, 0), (7, 7)}
    order = list(dict.fromkeys(record.repetition for record in found))
    assert order == [0, 1], "a repetition comes after all of the one before"


def test_the_header_says_how_the_run_was_called_for(tmp_path: Path, package: Path) -> None:
    out = tmp_path / "run"
    run(experiment(tmp_path, package, section(), words=["rounds=1"], only=["toys"]), out)
    (found,) = runs(out)
    assert found.header.section == "toy"
    assert found.header.settings["title"] == "Toys"
    assert (found.header.settings["set"], found.header.settings["only"]) == (["rounds=1"], ["toys"])
    assert found.header.settings["jobs"] == 1
    assert len(found.header.settings["code"]) == 64


def test_what_goes_wrong_is_a_row_and_no_stop(tmp_path: Path, package: Path) -> None:
    text = section(contenders='["wrong", "raises", "refused", "fine"]', rounds=2)
    out = tmp_path / "run"
    outcome = run(experiment(tmp_path, package, text), out)
    assert outcome.counts == {"ok": 2, "failed": 4, "skipped": 1}
    assert (outcome.is_broken, outcome.left) == (True, 0)
    reasons = {record.params["contender"]: record.reason for record in records(out)}
    assert reasons == {
        "wrong": "one tensor differs",
        "raises": "ValueError: not today",
        "refused": "no such device",
        "fine": None,
    }
    log = (out / "logs" / f"{records(out)[0].cell}.log").read_text()
    assert "Traceback" in log and "ValueError: not today" in log


@pytest.mark.parametrize(
    ("contender", "expected"),
    [
        ("killed", "its process ended: signal SIGKILL in 3 attempts"),
        ("leaves", "its process ended: exit code 7 in 3 attempts"),
        ("hangs", "no answer after 1 s; its process was killed"),
    ],
)
def test_a_sample_that_takes_its_process_with_it_is_a_row_and_the_run_goes_on(
    tmp_path: Path, package: Path, contender: str, expected: str
) -> None:
    text = section(contenders=f'["fine", "{contender}", "other"]', rounds=2)
    out = tmp_path / "run"
    outcome = run(experiment(tmp_path, package, text, words=["time_limit=1"]), out)
    assert (outcome.counts, outcome.left) == ({"ok": 4, "failed": 1}, 0)
    (failed,) = [record for record in records(out) if record.status == "failed"]
    assert failed.params["contender"] == contender
    assert failed.reason == f"{expected}; the case's other rounds are not tried"
    assert len({record.process for record in records(out) if record.status == "ok"}) == 2


def test_a_sample_whose_process_is_lost_once_is_taken_by_another(
    tmp_path: Path, package: Path
) -> None:
    out = tmp_path / "run"
    outcome = run(experiment(tmp_path, package, section(contenders='["fine", "once"]')), out)
    assert (outcome.counts, outcome.left) == ({"ok": 6}, 0)


def test_memory_beyond_its_limit_fails_the_sample_and_nothing_else(
    tmp_path: Path, package: Path
) -> None:
    out = tmp_path / "run"
    text = section(contenders='["fine", "greedy"]', rounds=1).replace(
        "probe = false", 'probe = false\nmemory_limit = "512 MiB"'
    )
    outcome = run(experiment(tmp_path, package, text), out)
    assert outcome.counts == {"ok": 1, "failed": 1}
    (failed,) = [record for record in records(out) if record.status == "failed"]
    assert failed.reason == "MemoryError"


def test_twins_are_marked(tmp_path: Path, package: Path) -> None:
    out = tmp_path / "run"
    run(experiment(tmp_path, package, section(rounds=2) + 'twins = ["fine"]\n'), out)
    found = records(out)
    assert [r.params["contender"] for r in found if r.extra.get("twin")] == ["fine", "fine"]
    assert len({key_of(record) for record in found}) == len(found) == 6


class ProbeOfTests:
    """A probe whose disk becomes faster with every look at it."""

    def __init__(self, directory: Path) -> None:
        self.speed = 100.0

    def __enter__(self) -> ProbeOfTests:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def probe(self, on_step: Any = None) -> Limits:
        on_step("sequential_read")
        return Limits(sequential_read=self.speed, memcpy=1000.0)

    def refresh(self, limits: Limits) -> Limits:
        self.speed += 100.0
        return Limits(sequential_read=self.speed)


def test_limits_are_probed_at_both_ends_and_in_between_and_the_best_one_counts(
    tmp_path: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(share_module, "LimitProbe", ProbeOfTests)
    monkeypatch.setattr(share_module, "REFRESH_SECONDS", 0.0)
    text = section(rounds=2).replace("probe = false", "probe = true")
    out = tmp_path / "run"
    outcome = run(experiment(tmp_path, package, text), out)
    (found,) = runs(out)
    assert [(line.when, line.round) for line in found.limits] == [
        ("begin", None),
        ("round", 0),
        ("round", 1),
        ("end", None),
    ]
    assert [line.limits["sequential_read"] for line in found.limits] == [100, 200, 300, 300]
    ideals = [record.ideal_seconds for record in found.records]
    assert ideals == pytest.approx([1 / 200, 1 / 200, 1 / 300, 1 / 300])
    assert outcome.drifted == pytest.approx({"sequential_read": 2.0})


def test_a_finished_run_has_nothing_left(tmp_path: Path, package: Path) -> None:
    out, seen = tmp_path / "run", Seen()
    defined = experiment(tmp_path, package, section(contenders='["fine", "refused"]'))
    first = run(defined, out)
    before = {path: path.read_bytes() for path in out.glob("*.jsonl")}
    again = run(defined, out, seen)
    assert again.counts == first.counts == {"ok": 3, "skipped": 1}
    assert (again.new, again.left, seen.lines) == (0, 0, [])
    assert len(seen.before) == 6
    assert {path: path.read_bytes() for path in out.glob("*.jsonl")} == before


def test_a_wider_grid_takes_only_what_is_new(tmp_path: Path, package: Path) -> None:
    out = tmp_path / "run"
    run(experiment(tmp_path, package, section(rounds=2)), out)
    wider = section(contenders='["fine", "other", "slow"]', rounds=3)
    outcome = run(experiment(tmp_path, package, wider), out)
    assert (outcome.new, outcome.counts, outcome.left) == (9 - 4, {"ok": 9}, 0)
    assert set(Counter(map(key_of, records(out))).values()) == {1}


def test_failed_samples_are_taken_again_only_when_that_is_asked_for(
    tmp_path: Path, package: Path
) -> None:
    out = tmp_path / "run"
    defined = experiment(tmp_path, package, section(contenders='["fine", "first"]', rounds=1))
    assert run(defined, out).counts == {"ok": 1, "failed": 1}
    assert run(defined, out).new == 0
    again = run(defined, out, is_retry=True)
    assert (again.new, again.counts, again.is_broken) == (1, {"ok": 2}, False)
    assert run(defined, out, is_retry=True).new == 0


def test_strict_shares_have_disjoint_cells_and_together_all(tmp_path: Path, package: Path) -> None:
    out = tmp_path / "run"
    text = section(rounds=1).replace("size = [1]", "size = [1, 2, 3, 4, 5]")
    defined = experiment(tmp_path, package, text, words=["jobs=3"])
    counts = [run(defined, out, position=position).new for position in range(3)]
    assert counts == [4, 4, 2]
    assert set(Counter(map(key_of, records(out))).values()) == {1}
    assert len(list(out.glob("*.jsonl"))) == 3


def test_two_runs_at_once_on_one_machine_are_refused(tmp_path: Path, package: Path) -> None:
    defined = experiment(tmp_path, package, section())
    directory = defined.call.directory
    with (
        machine_reserved(directory, "bench-core run other", shared=False),
        pytest.raises(InputError, match=rf"process {os.getpid()} \(bench-core run other\) is meas"),
    ):
        run(defined, tmp_path / "run")
    assert run(defined, tmp_path / "run").left == 0


def test_a_folder_of_another_code_or_section_is_refused(tmp_path: Path, package: Path) -> None:
    out = tmp_path / "run"
    defined = experiment(tmp_path, package, section(rounds=1))
    run(defined, out)
    (package / "more.py").write_text('"""Another code."""\n')
    with pytest.raises(InputError, match=r"holds results of code '.*choose another folder"):
        run(defined, out)
    (package / "more.py").unlink()
    other = replace(defined, call=replace(defined.call, is_test=True))
    with pytest.raises(InputError, match=r"holds results of section 'toy', this is 'toy-test'"):
        run(other, out)
