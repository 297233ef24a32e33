"""A small project for the tests of the runners: a library, benchmark classes and a git history."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(__file__).with_name("runners_data")
BENCH_CORE = Path(sys.executable).with_name("bench-core")

CONFIGURATION = {
    "version": 1,
    "project": "bench-core",
    "repo": ".",
    "dvcs": "git",
    "branches": ["main"],
    "environment_type": "virtualenv",
    "results_dir": "results/asv",
    "env_dir": ".asv/env",
    "html_dir": ".asv/html",
}


def make_project(folder: Path) -> Path:
    """Make a project that is measured by this repository's harness and package initialiser."""
    shutil.copytree(DATA, folder)
    shutil.copy(ROOT / "benchmarks" / "__init__.py", folder / "benchmarks")
    shutil.copy(ROOT / "conftest.py", folder)
    (folder / "pytest.ini").write_text("[pytest]\ntestpaths = benchmarks\n")
    (folder / "asv.conf.json").write_text(json.dumps(CONFIGURATION))
    for package in ("harness", "prevent_caching"):
        (folder / package).symlink_to(ROOT / package)
    (folder / ".gitignore").write_text("/.asv/\n/results/\n/harness\n/prevent_caching\n")
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "config", "user.name", "Test")
    git(folder, "config", "user.email", "test@example.org")
    commit(folder, "the first")
    return folder


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def commit(folder: Path, subject: str) -> str:
    """Commit everything and return the commit's hash."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", subject)
    return git(folder, "rev-parse", "HEAD")


def commit_seconds(folder: Path, seconds: str) -> str:
    """Commit a library that sleeps so long; return the commit's hash."""
    (folder / "bench_core" / "__init__.py").write_text(f'"""A library."""\n\nSECONDS = {seconds}\n')
    return commit(folder, f"sleep {seconds}")


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """Return an environment whose home and data folder lie beside the project."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ASV_", "BENCH_CORE_", "PYTEST_"))
    }
    home = folder.with_name("home")
    home.mkdir(exist_ok=True)
    return {
        **inherited,
        "HOME": str(home),
        "BENCH_CORE_DATA": str(folder.with_name("data")),
        **variables,
    }


def run(folder: Path, *command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the project."""
    return subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env=environment(folder, **variables),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def pytest_in(
    folder: Path, *arguments: str | Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run pytest in the project with the one plugin it needs: the others take a second to load."""
    command = [sys.executable, "-m", "pytest", "-p", "pytest_benchmark.plugin", *arguments]
    return run(folder, *command, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1", **variables)


def asv(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run asv in the project, on a machine that it knows."""
    machine = run(folder, sys.executable, "-m", "asv", "machine", "--yes")
    assert machine.returncode == 0, machine.stderr
    return run(folder, sys.executable, "-m", "asv", *arguments, **variables)


def asv_results(folder: Path, commit: str) -> dict[str, dict[str, Any]]:
    """Return benchmark to its columns, from the one result file of a commit."""
    (path,) = (folder / "results" / "asv").glob(f"*/{commit[:8]}-*.json")
    content = json.loads(path.read_text())
    columns = content["result_columns"]
    return {name: dict(zip(columns, row, strict=False)) for name, row in content["results"].items()}
