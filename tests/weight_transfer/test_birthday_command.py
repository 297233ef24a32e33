"""``bench-core birthday`` as a process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harness.cli", "birthday", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_original_case_is_printed_and_written(tmp_path: Path) -> None:
    path = tmp_path / "birthday.json"
    case = ("--choices", "2", "--length", "15", "--models", "300")
    done = run(*case, "--simulate", "50", "--json", str(path))
    assert done.returncode == 0, done.stderr
    assert "8.5548" in done.stdout and "2364.4" in done.stdout
    content = json.loads(path.read_text())
    assert content["estimate"]["layers"] == pytest.approx(8.5548, abs=5e-5)
    assert content["child_layers"] == pytest.approx(9.8336, abs=5e-5)
    assert content["simulated"]["layers"]["n"] == 50


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--choices", "2,x"], "'2,x', expected numbers with commas between"),
        (["--choices", "0", "--length", "3"], "expected one or more at each position"),
        (["--choices", "2", "--models", "0"], "0 is not in the range"),
        (["--choices", "1"], "expected a second one"),
        (["--choices", "2", "--bytes", "nan"], "expected finite numbers"),
        (["--choices", "31,2,31", "--length", "2"], "names 3 positions, expected at most 2"),
        (["--choices", "2", "--json", "/nowhere/at/all.json"], "choose another place"),
        ([], "Missing option '--choices'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments: list[str], found: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert found in done.stderr and done.stderr.count("\n") == 1


def test_bytes_are_a_line_only_where_they_were_given() -> None:
    assert "bytes" not in run("--choices", "2,2").stdout
    assert "bytes of a random model" in run("--choices", "2,2", "--bytes", "8").stdout
