"""Runs: every sample becomes a row as it ends, whatever happens, and a stopped run goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from run_toys import make_package, section

from harness.errors import InputError
from harness.experiments import Experiment, define, define_again, runner
from harness.experiments.plan import TWIN, Group, Turn, key_of
from harness.experiments.runner import Watcher, run_section
from harness.limits import Limits
from harness.records import Record, read_run

WAIT_SECONDS = 60.0


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_package(tmp_path_factory.mktemp("run"), "toys_of_runs")


def experiment(tmp_path: Path, package: Path, text: str, **options: Any) -> Experiment:
    file = tmp_path / "toy.toml"
    file.write_text(text)
    return define("toy", directory=tmp_path / "data", file=file, package=package, **options)


class Seen(Watcher):
    """Remembers what it hears."""

    def __init__(self) -> None:
        self.planned_samples = 0
        self.cases: list[str] = []
        self.dropped_cases: list[str] = []

    def planned(self, groups: Sequence[Group]) -> None:
        self.planned_samples = sum(len(group.turns) for group in groups)

    def taken(self, turn: Turn, record: Record, seconds: float) -> None:
        self.cases.append(turn.case.id)

    def dropped(self, case_id: str) -> None:
        self.dropped_cases.append(case_id)


def test_samples_are_rows_in_the_order_of_their_rounds(tmp_path: Path, package: Path) -> None:
    out = tmp_path / "new" / "run.jsonl"
    seen = Seen()
    outcome = run_section(experiment(tmp_path, package, section()), out, seen)
    run = read_run(out)
    assert [(record.params["contender"], record.round) for record in run.records] == [
        ("fine", 0),
        ("other", 0),
        ("other", 1),
        ("fine", 1),
        ("fine", 2),
        ("other", 2),
    ]
    assert outcome.counts == {"ok": 6}
    assert not outcome.is_broken
    assert seen.planned_samples == len(seen.cases) == 6
    assert {record.runner for record in run.records} == {"run"}
    assert [record.extra["samples"] for record in run.records] == [1, 1, 2, 2, 3, 3]


def test_contenders_share_a_process_of_their_own_and_the_data_folder(
    tmp_path: Path, package: Path
) -> None:
    out = tmp_path / "run.jsonl"
    run_section(experiment(tmp_path, package, section()), out)
    records = read_run(out).records
    assert len({record.process for record in records}) == 1
    assert records[0].process != os.getpid()
    assert {record.extra["data"] for record in records} == {str(tmp_path / "data")}


def test_the_header_says_how_the_run_was_called_for(tmp_path: Path, package: Path) -> None:
    out = tmp_path / "run.jsonl"
    defined = experiment(tmp_path, package, section(), settings=["rounds=1"], only=["toys"])
    run_section(defined, out)
    header = read_run(out).header
    assert header.section == "toy"
    assert header.settings["title"] == "Toys"
    assert (header.settings["set"], header.settings["only"]) == (["rounds=1"], ["toys"])
    assert define_again(read_run(out), tmp_path / "data") == defined


def test_what_goes_wrong_is_a_row_and_no_stop(tmp_path: Path, package: Path) -> None:
    text = section(contenders='["wrong", "raises", "refused", "fine"]', rounds=2)
    out = tmp_path / "run.jsonl"
    seen = Seen()
    outcome = run_section(experiment(tmp_path, package, text), out, seen)
    assert outcome.counts == {"ok": 2, "failed": 4, "skipped": 1}
    assert outcome.is_broken
    reasons = {record.params["contender"]: record.reason for record in read_run(out).records}
    assert reasons == {
        "wrong": "one tensor differs",
        "raises": "ValueError: not today",
        "refused": "no such device",
        "fine": None,
    }
    assert seen.dropped_cases == ["work.Toy.time_work('refused', 1)"]


@pytest.mark.parametrize(
    ("contender", "expected"),
    [
        ("killed", "its process ended: signal SIGKILL"),
        ("leaves", "its process ended: exit code 7"),
        ("hangs", "no answer after 2.5 s; its process was killed"),
    ],
)
def test_a_sample_that_takes_its_process_with_it_is_a_row_and_the_run_goes_on(
    tmp_path: Path, package: Path, contender: str, expected: str
) -> None:
    text = section(contenders=f'["fine", "{contender}", "other"]', rounds=2)
    out = tmp_path / "run.jsonl"
    outcome = run_section(experiment(tmp_path, package, text), out)
    assert outcome.counts == {"ok": 4, "failed": 1}
    records = read_run(out).records
    (failed,) = [record for record in records if record.status == "failed"]
    assert failed.params["contender"] == contender
    assert failed.reason == f"{expected}; the case's other rounds are not tried"
    assert len({record.process for record in records if record.status == "ok"}) == 2


def test_twins_are_marked(tmp_path: Path, package: Path) -> None:
    text = section(rounds=2) + 'twins = ["fine"]\n'
    out = tmp_path / "run.jsonl"
    run_section(experiment(tmp_path, package, text), out)
    records = read_run(out).records
    assert [record.params["contender"] for record in records if record.extra.get(TWIN)] == [
        "fine",
        "fine",
    ]
    assert len({key_of(record) for record in records}) == len(records) == 6


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


def test_limits_are_probed_at_both_ends_and_in_each_round_and_the_best_one_counts(
    tmp_path: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LimitProbe", ProbeOfTests)
    text = section(rounds=2).replace("probe = false", "probe = true")
    out = tmp_path / "run.jsonl"
    outcome = run_section(experiment(tmp_path, package, text), out)
    run = read_run(out)
    assert [(line.when, line.round) for line in run.limits] == [
        ("begin", None),
        ("round", 0),
        ("round", 1),
        ("end", None),
    ]
    assert [line.limits["sequential_read"] for line in run.limits] == [100.0, 200.0, 300.0, 300.0]
    ideals = [record.ideal_seconds for record in run.records]
    assert ideals == pytest.approx([1 / 200, 1 / 200, 1 / 300, 1 / 300])
    assert outcome.drifted == pytest.approx({"sequential_read": 2.0})


def test_a_run_does_not_overwrite_another_one(tmp_path: Path, package: Path) -> None:
    out = tmp_path / "run.jsonl"
    run_section(experiment(tmp_path, package, section(rounds=1)), out)
    before = out.read_bytes()
    with pytest.raises(InputError, match="exists already"):
        run_section(experiment(tmp_path, package, section(rounds=1)), out)
    assert out.read_bytes() == before


def test_a_finished_run_has_nothing_left(tmp_path: Path, package: Path) -> None:
    out = tmp_path / "run.jsonl"
    text = section(contenders='["fine", "refused"]')
    defined = experiment(tmp_path, package, text)
    first = run_section(defined, out)
    before = out.read_bytes()
    again = run_section(defined, out, resume=True)
    assert again.counts == first.counts == {"ok": 3, "skipped": 1}
    assert out.read_bytes() == before


@pytest.mark.parametrize(("fact", "name"), [("machine_name", "machine"), ("machine", "commit")])
def test_a_run_of_another_machine_or_commit_is_not_mixed_with_this_one(
    tmp_path: Path, package: Path, fact: str, name: str
) -> None:
    out = tmp_path / "run.jsonl"
    run_section(experiment(tmp_path, package, section(rounds=1)), out)
    first, *rest = out.read_text().splitlines()
    header = json.loads(first)
    header[fact] = "another" if fact == "machine_name" else {"git": {"commit": "abc"}}
    out.write_text("\n".join([json.dumps(header), *rest]) + "\n")
    with pytest.raises(InputError, match=f"the run was begun with {name} "):
        define_again(read_run(out), tmp_path / "data")


def test_kill_in_the_middle_keeps_what_was_taken_and_resume_takes_the_rest_once(
    tmp_path: Path, package: Path
) -> None:
    file = tmp_path / "toy.toml"
    file.write_text(section(contenders='["slow", "fine", "refused"]', rounds=30))
    out = tmp_path / "run.jsonl"
    base = [sys.executable, "-m", "harness.cli", "run"]
    where = ["--dir", str(tmp_path / "data")]
    source = ["toy", "--file", str(file), "--benchmarks", str(package), "--out", str(out)]
    process = subprocess.Popen([*base, *source, *where], stderr=subprocess.DEVNULL)
    wait_for_samples(out, 8)
    process.kill()
    process.wait()
    before = out.read_bytes()
    taken = read_run(out).records
    assert 8 <= len(taken) < 61
    wait_until_gone(taken[0].process)

    done = subprocess.run(
        [*base, "--resume", str(out), *where], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, f"results: {out}" in done.stdout) == (0, True), done.stderr
    run = read_run(out)
    assert run.notes == ()
    assert out.read_bytes().startswith(before[: before.rfind(b"\n") + 1])
    keys = Counter(key_of(record) for record in run.records)
    assert set(keys.values()) == {1}
    assert len(keys) == 61


def wait_for_samples(path: Path, count: int) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not path.exists() or path.read_text().count('"kind": "sample"') < count:
        assert time.monotonic() < deadline, "the run takes no samples"
        time.sleep(0.02)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} does not appear"
        time.sleep(0.01)


def wait_until_gone(process: int) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return
        assert time.monotonic() < deadline, "the samples' process outlives its parent"
        time.sleep(0.02)


def test_an_interrupt_ends_the_run_in_the_middle_of_a_sample(tmp_path: Path, package: Path) -> None:
    file = tmp_path / "toy.toml"
    file.write_text(section(contenders='["fine", "other", "sleeps"]', rounds=2))
    out = tmp_path / "run.jsonl"
    command = [sys.executable, "-m", "harness.cli", "run", "toy", "--file", str(file)]
    command += ["--benchmarks", str(package), "--out", str(out), "--dir", str(tmp_path / "data")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    wait_for_samples(out, 2)
    wait_for(tmp_path / "data" / "left behind")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert "interrupted" in said
    run = read_run(out)
    assert (len(run.records), run.notes) == (2, ())
    assert list((tmp_path / "data").iterdir()) == []
    wait_until_gone(run.records[0].process)
