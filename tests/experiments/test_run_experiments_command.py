"""``bench-core experiments``, as a user calls it: lists, sections, plans, status and a template."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from run_toys import make_package, section

from harness.experiments import library

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]


def call(
    *arguments: str | Path, cwd: Path, command: str = "experiments"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness.cli", command, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "140", "BENCH_CORE_DATA": str(cwd / "data")},
    )


def printed(*arguments: str | Path, cwd: Path, command: str = "experiments") -> str:
    done = call(*arguments, cwd=cwd, command=command)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def toys(tmp_path: Path) -> list[str | Path]:
    """The arguments that choose the toys."""
    package = make_package(tmp_path)
    file = tmp_path / "toy.toml"
    file.write_text(section().replace("size = [1]", "size = [1, 2]") + "[toy.test]\nrounds = 1\n")
    return ["toy", "--file", file, "--benchmarks", package]


def test_the_list_has_every_section_by_its_file(tmp_path: Path, toys: list[str | Path]) -> None:
    lines = printed("ls", cwd=tmp_path).splitlines()
    assert lines[lines.index("smoke.toml") + 1].split("  ")[1].strip() == "smoke"
    listed = [line.split()[0] for line in lines if line.startswith("  ")]
    assert listed == library.names()
    assert printed("ls", *toys[1:3], cwd=tmp_path).split() == ["toy.toml", "toy", "Toys"]


def test_a_section_is_shown_as_it_would_be_run(tmp_path: Path, toys: list[str | Path]) -> None:
    shown = printed("show", *toys, "--test", "--set", "contender=fine,other", cwd=tmp_path)
    assert tomllib.loads(shown) == {
        "toy": {
            "title": "Toys",
            "rounds": 1,
            "probe": False,
            "comparisons": [
                {
                    "name": "toys",
                    "benchmark": "work.Toy.time_work",
                    "params": {"contender": ["fine", "other"], "size": [1, 2]},
                }
            ],
        }
    }
    again = tmp_path / "again.toml"
    again.write_text(shown)
    assert printed("show", "toy", "--file", again, *toys[3:], cwd=tmp_path) == shown


def test_a_plan_says_what_would_run_and_runs_nothing(
    tmp_path: Path, toys: list[str | Path]
) -> None:
    header, row, *cells, summary = printed("plan", *toys, "--cells", cwd=tmp_path).splitlines()
    assert header.split() == ["comparison", "benchmark", "cells", "samples", "moves", "takes"]
    assert row.split() == ["toys", "work.Toy.time_work", "2", "12", "?", "?"]
    assert [line.split()[1:] for line in cells] == [
        ["toys", "6", "samples", "size=1"],
        ["toys", "6", "samples", "size=2"],
    ]
    assert summary == ("12 samples in 2 cells; time unknown: nothing like it was measured before")
    assert not (tmp_path / "results").exists()


def test_every_embedded_section_can_be_planned_whole_and_as_a_test(tmp_path: Path) -> None:
    from harness.experiments import call_for, define

    for name in library.names():
        for is_test in (False, True):
            assert define(call_for(name, directory=tmp_path, is_test=is_test)).samples > 0


def test_the_template_runs_as_it_is_and_its_status_is_told(tmp_path: Path) -> None:
    said = printed("new", "mine", cwd=tmp_path).splitlines()
    assert said[:3] == [
        "mine/first.toml",
        "mine/my_benchmarks/__init__.py",
        "mine/my_benchmarks/first.py",
    ]
    begin = "run it: bench-core run "
    assert said[3].startswith(begin)
    arguments = said[3].removeprefix(begin).split()
    ran = printed(*arguments, "--test", cwd=tmp_path, command="run").splitlines()
    assert ran[0] == "16 samples: 16 ok"
    folder = ran[1].removeprefix("results: ")
    for chosen in ([], [folder], ["--follow"]):
        status = printed("status", *chosen, cwd=tmp_path).splitlines()
        assert "2 of 2 cells done, 0 begun, 0 of 16 samples left" in " ".join(status[-2:])
    again = call("new", "mine", cwd=tmp_path)
    assert (again.returncode, again.stdout) == (2, "")
    assert again.stderr == "bench-core: mine/first.toml exists already; choose another folder\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["plan", "quik"], "there is no section 'quik'; expected one of "),
        (["show", "quick", "--set", "formt=npz"], "no comparison has 'formt'; did you mean 'form"),
        (["plan", "quick", "--only", "write"], "--only write: no such comparison"),
        (["plan", "quick", "--set", "rounds"], "--set rounds: expected key=value"),
        (["plan"], "Missing argument 'NAME'"),
        (["ls", "--file", "none.toml"], "'none.toml' does not exist"),
        (["plan", "quick", "--benchmarks", "."], "is no package of benchmarks"),
        (["status"], "no runs under results/runs; take one with: bench-core run quick"),
        (["status", "."], "is no run's folder: experiment.json: No such file or directory"),
        (["new"], "Missing argument 'FOLDER'"),
        (["lst"], "No such command 'lst'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    tmp_path: Path, arguments: list[str], expected: str
) -> None:
    done = call(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
