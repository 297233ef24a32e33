"""Workloads with processes of their own, over commits: which library and which benchmarks run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.mpi_queries import MpiQuery
from benchmarks.prefix_queries import ConcurrentReaders
from benchmarks.support import child_processes
from benchmarks.support.child_processes import check_library, child_command, library_file
from harness.errors import HarnessError

ROOT = Path(__file__).resolve().parents[2]
READERS = ("prefix_queries", "ConcurrentReaders", "track_makespan", "index", 1, 30, 50, 8)
RANKS = ("mpi_queries", "MpiQuery", "track_query", 2, 20, "feed-forward")
needs_mpi = pytest.mark.skipif(shutil.which("mpiexec") is None, reason="mpiexec is not installed")

# As asv does it: the worktree is on the path, and the working tree's benchmarks come by a finder.
SAMPLE = f"""
import importlib.machinery, json, sys
class Specific:
    def find_spec(self, name, path=None, target=None):
        if name == "benchmarks":
            return importlib.machinery.PathFinder.find_spec(name, [{str(ROOT)!r}])
sys.meta_path.insert(0, Specific())
module, cls, method, *params = json.loads(sys.argv[1])
workload = getattr(importlib.import_module("benchmarks." + module), cls)()
record = workload.sample(method, *params)
import bench_core
print(json.dumps([bench_core.__file__, record.status, record.reason]))
"""


@pytest.fixture
def worktree(tmp_path: Path) -> Path:
    """A commit's tree: a library of its own, and benchmarks that must not run."""
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "bench_core", tmp_path / "tree" / "bench_core", ignore=skip)
    (tmp_path / "tree" / "benchmarks").mkdir()
    (tmp_path / "tree" / "benchmarks" / "__init__.py").write_text("raise SystemError('old')\n")
    return tmp_path / "tree"


def sample(worktree: Path, case: tuple[object, ...]) -> tuple[str, str | None]:
    """Measure the worktree's library; return the record's status and reason."""
    told = {
        "PYTHONPATH": str(worktree),
        "BENCH_CORE_EXPECT": str(worktree),
        "BENCH_CORE_DATA": str(worktree.with_name("data")),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", SAMPLE, json.dumps(case)],
        cwd=worktree.parent,
        env={**os.environ, **told},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    library, status, reason = json.loads(done.stdout)
    assert library == str(worktree / "bench_core" / "__init__.py")
    return status, reason


def test_readers_have_the_library_that_is_measured(worktree: Path) -> None:
    assert sample(worktree, READERS) == ("ok", None)


@needs_mpi
def test_ranks_have_the_library_that_is_measured(worktree: Path) -> None:
    pytest.importorskip("mpi4py")
    assert sample(worktree, RANKS) == ("ok", None)
    with (worktree / "bench_core/weight_transfer/stores/mpi_collective.py").open("a") as module:
        module.write("\n\ndef best_prefix_collective(*given):\n    return None\n")
    status, reason = sample(worktree, RANKS)
    assert status == "failed"
    assert reason is not None and "2 ranks found None, one index Match" in reason


@pytest.mark.parametrize("name", ["readers", pytest.param("ranks", marks=needs_mpi)])
def test_processes_with_another_library_are_a_failed_sample(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BENCH_CORE_DATA", str(tmp_path / "data"))
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "bench_core", tmp_path / "other" / "bench_core", ignore=skip)
    library = str(Path(library_file()).parents[1])

    def elsewhere(module: str, *arguments: str) -> list[str]:
        other = str(tmp_path / "other")
        return [other if word == library else word for word in right(module, *arguments)]

    right = child_command
    if name == "readers":
        monkeypatch.setattr("benchmarks.support.prefix_readers.child_command", elsewhere)
        record = ConcurrentReaders().sample("track_makespan", "index", 1, 30, 50, 8)
    else:
        pytest.importorskip("mpi4py")
        monkeypatch.setattr("benchmarks.mpi_queries.child_command", elsewhere)
        record = MpiQuery().sample("track_query", 2, 20, "feed-forward")
    assert record.status == "failed"
    assert record.reason is not None and f"from {tmp_path / 'other'}" in record.reason


def test_a_child_has_the_caller_s_environment_and_not_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "asked.py").write_text(
        "import benchmarks, bench_core, sys\n"
        "def main(arguments):\n"
        "    print(benchmarks.__file__, bench_core.__file__, arguments)\n"
        "    sys.exit(7)\n"
    )
    for package in ("bench_core", "benchmarks"):
        (tmp_path / f"{package}.py").write_text("raise SystemError('the working directory')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "own"))
    done = subprocess.run(
        child_command("asked", "one", "two"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 7, done.stderr
    benchmarks_file = child_processes.ROOT / "benchmarks" / "__init__.py"
    assert done.stdout == f"{benchmarks_file} {library_file()} ['one', 'two']\n"


def test_what_a_process_says_is_compared() -> None:
    check_library([library_file()] * 2)
    with pytest.raises(HarnessError, match="took bench_core from /elsewhere"):
        check_library([library_file(), "/elsewhere/bench_core/__init__.py"])
