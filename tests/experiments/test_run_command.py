"""``bench-core run``: its mistakes in one line, its exit codes, its list."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from run_toys import make_package, section

from harness.records import read_run


def call(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness.cli", "run", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=cwd,
    )


@pytest.fixture
def toys(tmp_path: Path) -> list[str | Path]:
    """The arguments that run the toys."""
    package = make_package(tmp_path)
    file = tmp_path / "toy.toml"
    file.write_text(section(contenders='["fine", "refused"]', rounds=1))
    return ["toy", "--file", file, "--benchmarks", package, "--dir", tmp_path / "data"]


def test_a_run_prints_its_counts_and_where_its_results_are(
    tmp_path: Path, toys: list[str | Path]
) -> None:
    done = call(*toys, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    counts, where = done.stdout.splitlines()
    assert counts == "2 samples: 1 ok, 1 skipped"
    path = tmp_path / where.removeprefix("results: ")
    assert path.parent == tmp_path / "results" / "runs"
    assert path.name.startswith("toy-")
    assert len(read_run(path).records) == 2
    assert "skipped: work.Toy.time_work('refused', 1): no such device" in done.stderr


def test_a_failed_sample_is_exit_code_3(tmp_path: Path, toys: list[str | Path]) -> None:
    done = call(*toys, "--set", "contender=fine,wrong", cwd=tmp_path)
    assert done.returncode == 3
    assert "2 samples: 1 failed, 1 ok" in done.stdout
    assert "failed: work.Toy.time_work('wrong', 1): one tensor differs" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "name a SECTION"),
        (["quik"], "there is no section 'quik'"),
        (["quick", "--only", "writes"], "--only writes: no such comparison"),
        (["quick", "--set", "rounds=x"], "rounds = 'x'"),
        (["quick", "--set", "formt=npz"], "no comparison has 'formt'; did you mean 'format'?"),
        (["quick", "--set", "durability=fsnc"], "did you mean 'fsync'?"),
        (["quick", "--resume", "pyproject.toml"], "--resume takes all but --dir"),
        (["--resume", "pyproject.toml"], "not a JSON object"),
        (["--resume", "missing.jsonl"], "'missing.jsonl' does not exist"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments: list[str], expected: str) -> None:
    done = call(*arguments, cwd=Path(__file__).parents[2])
    assert done.returncode == 2
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_the_list_names_sections_and_comparisons() -> None:
    done = call("--list")
    assert done.returncode == 0
    assert "quick: " in done.stdout
    assert "    durable_write            storage_writes.DurableWrite.time_write" in done.stdout


def test_the_smoke_section_runs_on_the_real_benchmarks_and_leaves_nothing(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "run.jsonl"
    done = call("smoke", "--only", "one_layer", "--dir", data, "--out", out)
    assert done.returncode == 0, done.stderr
    records = read_run(out).records
    assert [record.params["format"] for record in records] == ["auto", "safetensors"] * 2
    assert all(record.status == "ok" or record.reason for record in records)
    assert [path for path in data.rglob("*") if path.is_file()] == []
