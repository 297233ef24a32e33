"""asv.conf.json holds only keys that asv knows, and this repository's classes are found by it."""

from __future__ import annotations

import difflib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from asv.config import Config
from asv.util import load_json

ROOT = Path(__file__).resolve().parents[2]

# Keys that asv reads with getattr, so that its Config does not list them
# (asv/config.py, asv/build_cache.py, and the environment plugins).
READ_ELSEWHERE = {"version", "repo", "build_cache_size", "wheel_cache_size"}


@pytest.fixture(scope="module")
def stated() -> dict[str, Any]:
    found: dict[str, Any] = load_json(str(ROOT / "asv.conf.json"), js_comments=True)
    return found


def unknown_keys(configuration: dict[str, Any]) -> list[str]:
    """Return the keys that asv would ignore in silence, each with the nearest that it knows."""
    known = set(vars(Config())) | READ_ELSEWHERE
    return [
        f"{key} (did you mean {difflib.get_close_matches(key, known, 1)}?)"
        for key in configuration
        if key not in known
    ]


def test_asv_knows_every_key(stated: dict[str, Any]) -> None:
    assert unknown_keys(stated) == []


def test_a_misspelt_key_would_be_found() -> None:
    """As in pandas, whose asv.conf.json has this very misspelling: its thresholds do nothing."""
    assert unknown_keys({"regression_thresholds": {}}) == [
        "regression_thresholds (did you mean ['regressions_thresholds']?)"
    ]


def test_the_matrix_has_only_the_kinds_that_asv_reads(stated: dict[str, Any]) -> None:
    assert set(stated["matrix"]) <= {"req", "env", "env_nobuild"}


def test_no_commit_reinstalls_its_dependencies(stated: dict[str, Any]) -> None:
    for key in ("build_command", "install_command"):
        assert all("--no-deps" in command for command in stated[key])
    assert all("{project}" in command for command in stated["uninstall_command"])


def test_what_decides_the_figures_is_pinned_to_what_this_project_is_tested_with(
    stated: dict[str, Any],
) -> None:
    text = (ROOT / "pyproject.toml").read_text()
    runner = re.search(r"asv_runner==([\d.]+)", text)
    torch = re.search(r"torch==([\d.]+)", (ROOT / "constraints.txt").read_text())
    assert runner and torch
    assert stated["matrix"]["req"]["pip+asv_runner"] == [runner[1]]
    assert stated["matrix"]["req"]["torch"] == [torch[1]]


def test_the_folders_are_where_git_ignores_them_or_the_suite_lies(stated: dict[str, Any]) -> None:
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert "results/asv/" in ignored
    assert stated["results_dir"] == "results/asv"
    for key in ("env_dir", "html_dir"):
        assert stated[key].startswith(".asv/")
    assert ".asv/" in ignored
    assert (ROOT / stated["benchmark_dir"] / "__init__.py").is_file()


def test_thresholds_are_regular_expressions(stated: dict[str, Any]) -> None:
    for pattern, threshold in stated["regressions_thresholds"].items():
        assert re.compile(pattern)
        assert 0 < threshold < 1


def test_asv_discovery_and_pytest_list_the_same_ids(tmp_path: Path) -> None:
    """In processes of their own: all of them import all benchmark modules."""
    script = (
        "import json, sys, itertools\n"
        "from asv_runner.discovery import disc_benchmarks\n"
        "from asv_runner._aux import update_sys_path\n"
        f"root = {str(ROOT / 'benchmarks')!r}\n"
        "update_sys_path(root)\n"
        "theirs = [\n"
        "    f\"{found.name}({', '.join(values)})\" if values else found.name\n"
        "    for found in disc_benchmarks(root)\n"
        "    for values in itertools.product(*found.params)\n"
        "]\n"
        "from harness.discovery import cases\n"
        "ours = [case.id for case in cases('benchmarks')]\n"
        "print(json.dumps([theirs, ours]))\n"
    )
    theirs, ours = json.loads(output(sys.executable, "-c", script, folder=tmp_path)[-1])
    assert ours == theirs
    assert len(ours) == len(set(ours))
    collected = output(
        sys.executable, "-m", "pytest", "benchmarks", "--benchmark-only", "--collect-only", "-q",
        folder=ROOT,
    )  # fmt: skip
    assert [line.split("::", 1)[1] for line in collected if "::" in line] == ours


def output(*command: str, folder: Path) -> list[str]:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()
