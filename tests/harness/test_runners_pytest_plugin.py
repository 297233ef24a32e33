"""The pytest plugin: when it runs benchmarks, when it does not, and what it reports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from runners_project import make_project, pytest_in


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("plugin") / "project")


def run_pytest(folder: Path, *arguments: str) -> str:
    done = pytest_in(folder, "-p", "no:cacheprovider", *arguments)
    return done.stdout + done.stderr


def test_a_plain_pytest_collects_no_benchmark(project: Path) -> None:
    assert "no tests collected" in run_pytest(project, "--collect-only", "-q")


def test_a_path_on_the_command_line_asks_for_them(project: Path) -> None:
    by_folder, by_file = (
        [line for line in run_pytest(project, path, "--co", "-q").splitlines() if "::" in line]
        for path in ("benchmarks", "benchmarks/small.py")
    )
    assert "benchmarks/small.py::small.Sleep.time_sleep('a', 1)" in by_folder
    assert len(by_folder) == 17
    assert by_folder == by_file


def test_one_case_can_be_named(project: Path) -> None:
    output = run_pytest(project, "benchmarks/small.py::small.Sleep.time_sleep('b', 1)")
    assert "1 passed" in output


def test_the_quick_form_runs_fewer_cases_and_samples(project: Path) -> None:
    report = project / "quick.json"
    output = run_pytest(
        project, "benchmarks", "--benchmark-only", "--quick", "-k", "Sleep or Cached",
        f"--benchmark-json={report}",
    )  # fmt: skip
    assert "4 passed" in output
    found = json.loads(report.read_text())
    names = [benchmark["name"] for benchmark in found["benchmarks"]]
    assert names == [
        "small.Sleep.time_sleep('a', 2)",
        "small.Sleep.track_seconds('a', 2)",
        "small.Cached.time_read('cold_file')",
        "small.Cached.time_read('warm')",
    ]
    assert {benchmark["stats"]["rounds"] for benchmark in found["benchmarks"]} == {2}


def test_the_machine_is_described_without_what_changes_from_run_to_run(project: Path) -> None:
    report = project / "machine.json"
    run_pytest(project, "benchmarks", "--quick", "-k", "nothing", f"--benchmark-json={report}")
    found = json.loads(report.read_text())
    assert {"cpu", "memory_bytes", "virtualisation"} <= set(found["machine_info"]["bench_core"])
    assert "load_average" not in found["machine_info"]["bench_core"]
    assert set(found["bench_core"]) == {"git", "load_average"}


def test_disabled_benchmarks_run_once_as_tests(project: Path) -> None:
    samples = project / "disabled.jsonl"
    pytest_in(
        project, "benchmarks", "--benchmark-disable", "-k", "Sleep or Wrong",
        BENCH_CORE_SAMPLES=str(samples),
    )  # fmt: skip
    statuses = [json.loads(line)["status"] for line in samples.read_text().splitlines()]
    assert statuses == ["ok"] * 8 + ["failed"]


def test_what_the_harness_raises_is_reported_in_one_line(project: Path) -> None:
    output = run_pytest(project, "benchmarks", "-k", "Wrong")
    assert "WrongResultError: the answer is 41, expected 42" in output
    assert "Traceback" not in output
    assert "_raw_pedantic" not in output


def test_other_folders_can_be_named_in_the_ini_file(project: Path, tmp_path: Path) -> None:
    (tmp_path / "suite").mkdir()
    (tmp_path / "suite" / "__init__.py").write_text("")
    (tmp_path / "suite" / "one.py").write_text(
        "from harness.benchmark import Benchmark\n"
        "class One(Benchmark):\n"
        "    def time_it(self): pass\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\nbench_core_benchmarks = suite\n")
    output = run_pytest(
        tmp_path, "-p", "harness.pytest_plugin", "--benchmark-only", "--collect-only", "-q"
    )
    assert "suite/one.py::one.One.time_it" in output


def test_a_package_with_a_mistake_is_an_error_of_one_line(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "project")
    (folder / "benchmarks" / "odd.py").write_text("class Odd:\n    def time_it(self): pass\n")
    output = run_pytest(folder, "benchmarks", "--collect-only", "-q")
    assert "benchmarks.odd: time_it of Odd can be run by asv alone" in output


def test_a_project_that_did_not_opt_in_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "small.py").write_text("raise RuntimeError('imported')\n")
    (tmp_path / "test_it.py").write_text(
        "def test_it(pytestconfig):\n"
        "    names = [str(name) for name, _ in pytestconfig.pluginmanager.list_name_plugin()]\n"
        "    assert not [name for name in names if 'harness' in name]\n"
    )
    (tmp_path / "conftest.py").write_text(
        "def pytest_addoption(parser):\n    parser.addoption('--quick', action='store_true')\n"
    )
    assert "1 passed" in run_pytest(tmp_path, "--quick")
