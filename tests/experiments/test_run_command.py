"""``bench-core run``: what it prints, its mistakes in one line, its exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from run_toys import make_package, section

from harness.records import Record, read_run


def call(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness.cli", "run", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=cwd,
    )


def records(folder: Path) -> list[Record]:
    return [r for path in sorted(folder.glob("*.jsonl")) for r in read_run(path).records]


@pytest.fixture
def toys(tmp_path: Path) -> list[str | Path]:
    """The arguments that run the toys."""
    package = make_package(tmp_path)
    file = tmp_path / "toy.toml"
    text = section(contenders='["fine", "refused"]', rounds=1)
    file.write_text(text.replace("[[toy", "[toy.test]\nsize = [1, 2]\n\n[[toy"))
    return ["toy", "--file", file, "--benchmarks", package, "--dir", tmp_path / "data"]


def test_a_run_prints_its_counts_and_where_its_results_are(
    tmp_path: Path, toys: list[str | Path]
) -> None:
    done = call(*toys, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    counts, where = done.stdout.splitlines()
    assert counts == "2 samples: 1 ok, 1 skipped"
    folder = Path(where.removeprefix("results: "))
    assert folder.parent == tmp_path / "results" / "runs" / "toy"
    assert len(records(folder)) == 2
    assert "skipped: work.Toy.time_work('refused', 1): no such device" in done.stderr


def test_the_same_command_again_measures_nothing_and_force_all(
    tmp_path: Path, toys: list[str | Path]
) -> None:
    first, again, forced = (call(*toys, *more, cwd=tmp_path) for more in ((), (), ("--force",)))
    assert again.stdout.splitlines()[0] == "2 samples: 1 ok, 1 skipped (2 were there before)"
    assert again.stdout.splitlines()[1] == first.stdout.splitlines()[1]
    assert forced.stdout.splitlines()[0] == "2 samples: 1 ok, 1 skipped"
    assert forced.stdout.splitlines()[1] == f"{first.stdout.splitlines()[1]}-2"


def test_a_test_has_the_section_s_test_size_and_a_folder_of_its_own(
    tmp_path: Path, toys: list[str | Path]
) -> None:
    done = call(*toys, "--test", cwd=tmp_path)
    counts, where = done.stdout.splitlines()
    assert counts == "4 samples: 2 ok, 2 skipped"
    folder = Path(where.removeprefix("results: "))
    assert folder.parent == tmp_path / "results" / "runs" / "toy-test"


def test_a_failed_sample_is_exit_code_3(tmp_path: Path, toys: list[str | Path]) -> None:
    done = call(*toys, "--set", "contender=fine,wrong", cwd=tmp_path)
    assert done.returncode == 3
    assert "2 samples: 1 failed, 1 ok" in done.stdout
    assert "failed: work.Toy.time_work('wrong', 1): one tensor differs" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "Missing argument 'NAME'"),
        (["quik"], "there is no section 'quik'"),
        (["quick", "--only", "writes"], "--only writes: no such comparison"),
        (["quick", "--set", "rounds=x"], "rounds = 'x'"),
        (["quick", "--set", "formt=npz"], "no comparison has 'formt'; did you mean 'format'?"),
        (["quick", "--set", "durability=fsnc"], "did you mean 'fsync'?"),
        (["quick", "--engine", "slrm"], "'slrm'"),
        (["quick", "-j", "2", "-i", "2"], "there are 2 shares, numbered from 0"),
        (["quick", "-j", "2", "-i", "1", "--force"], "--force"),
        (["quick", "--out", "pyproject.toml"], "pyproject.toml is a file; a run needs a folder"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments: list[str], expected: str) -> None:
    done = call(*arguments, cwd=Path(__file__).parents[2])
    assert done.returncode == 2
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_the_smoke_section_runs_on_the_real_benchmarks_and_leaves_nothing(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "run"
    arguments = ["smoke", "--only", "one_layer", "--set", "format=auto,safetensors"]
    done = call(*arguments, "--dir", data, "--out", out)
    assert done.returncode == 0, done.stderr
    found = records(out)
    assert {record.params["format"] for record in found} == {"auto", "safetensors"}
    assert all(record.status == "ok" or record.reason for record in found)
    assert [path.name for path in data.rglob("*") if path.is_file()] == ["measuring.lock"]
