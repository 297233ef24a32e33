"""asv in environments of its own: each commit's wheel, this tree's harness, proved by speed."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from runners_project import ROOT, asv, asv_results, commit, commit_seconds, make_project

SECONDS = ("0.020", "0.220", "0.120")

PYPROJECT = """
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "bench-core"
version = "0.1.0"
dependencies = ["torch"]

[tool.setuptools.packages.find]
include = ["bench_core*", "benchmarks*"]
"""


def real_configuration() -> dict[str, object]:
    """Return this repository's asv.conf.json with what a small library needs."""
    from asv.util import load_json

    stated: dict[str, object] = load_json(str(ROOT / "asv.conf.json"), js_comments=True)
    stated["pythons"] = [f"{sys.version_info[0]}.{sys.version_info[1]}"]
    stated["matrix"] = {"req": {"pip+asv_runner": ["0.3.2"]}}
    return stated


@pytest.mark.slow
def test_asv_run_measures_each_commit_s_own_wheel(tmp_path: Path) -> None:
    """The library declares torch, and nothing installs it: the configured commands see to that."""
    folder = make_project(tmp_path / "project")
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "asv.conf.json").write_text(json.dumps(real_configuration()))
    commit(folder, "make it a distribution")
    commits = [commit_seconds(folder, seconds) for seconds in SECONDS]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = asv(
        folder, "run", "HEAD~3..HEAD", "--bench", r"Sleep\..*\('a', 1\)", "--record-samples",
        "--show-stderr", PATH=path, BENCH_CORE_SAMPLES=str(tmp_path / "samples.jsonl"),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for hash, seconds in zip(commits, SECONDS, strict=True):
        found = asv_results(folder, hash)
        assert found["small.Sleep.track_seconds"]["result"][0] == float(seconds)
        assert min(found["small.Sleep.time_sleep"]["samples"][0]) >= float(seconds)
    environments = list((folder / ".asv" / "env").glob("*/lib/python*/site-packages"))
    assert len(environments) == 1
    installed = {path.name for path in environments[0].iterdir()}
    assert "bench_core" in installed
    assert "torch" not in installed
    assert len((tmp_path / "samples.jsonl").read_text().splitlines()) == 12
