"""``bench-core evolve`` as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SMALL = ("digits", "--population", "4", "--sample", "2")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "harness.cli", "evolve", *arguments]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False, env=env)


def test_a_search_is_printed_and_written(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    models = ("--models", str(tmp_path / "here"))
    done = run(*SMALL, *models, "--candidates", "8", "--json", str(path))
    assert done.returncode == 0, done.stderr
    assert "8 candidates in" in done.stdout and "times less" in done.stdout
    content = json.loads(path.read_text())
    assert [one["candidate"]["birth"] for one in content] == list(range(8))
    best = max(one["outcome"]["accuracy"] for one in content)
    assert f"{best:.4f}" in done.stdout


def test_a_search_that_was_killed_goes_on_from_its_journal(tmp_path: Path) -> None:
    arguments = (*SMALL, "--models", str(tmp_path), "--candidates", "12")
    journal = tmp_path / "journal.jsonl"
    process = subprocess.Popen(command(*arguments), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (
        journal.exists() and journal.read_text().count('"birth"') > 3
    ):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = journal.read_text().count('"seconds"')
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    assert journal.read_text().count('"seconds"') == 12 >= before > 0


@pytest.mark.parametrize("engine", [(), ("--engine", "processes", "--workers", "2")])
def test_ctrl_c_is_one_line_and_ends_the_workers_too(
    tmp_path: Path, engine: tuple[str, ...]
) -> None:
    arguments = (*SMALL, "--models", str(tmp_path), "--candidates", "1000", *engine)
    journal = tmp_path / "journal.jsonl"
    process = subprocess.Popen(
        command(*arguments),
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (
        journal.exists() and journal.read_text().count('"seconds"') > 1
    ):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: workers get it too
    _, errors = process.communicate(timeout=120)  # that long as a worker holds the pipe
    assert process.returncode == 130
    assert errors.strip() == "bench-core: interrupted"
    assert journal.read_text().endswith("\n")


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["digit", "--models", "x"], "did you mean 'digits'"),
        (["digits"], "where shall models be kept?"),
        (["digits", "--models", "x", "--method", "stor"], "did you mean 'store'"),
        (["digits", "--models", "x", "--sample", "60"], "a sample of 60 from a population of 50"),
        (["digits", "--models", "x", "--engine", "rays"], "did you mean 'ray'"),
        (["digits", "--models", "x", "--donors", "nobody"], "expected one of best, parent"),
        (["digits", "--models", "x", "--beta", "0.5"], "expected a number of at least 1"),
        (["digits", "--servers", "memori:"], "memori"),
        ([], "Missing argument 'APPLICATION'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    tmp_path: Path, arguments: list[str], found: str
) -> None:
    given = [str(tmp_path / "x") if argument == "x" else argument for argument in arguments]
    done = run(*given)
    assert done.returncode == 2, done.stdout
    assert found in done.stderr and done.stderr.count("\n") == 1
