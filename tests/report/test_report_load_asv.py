from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from report_builders import asv_entry, write_asv

from harness.errors import InputError
from harness.report import load as load_module
from harness.report.load import load, resolve

NAME = "mod.Load.time_load"
AXES = (("direct", "torch"), ("cold_file", "warm"))
KNOWN = {NAME: ("format", "cache")}


def test_stored_samples_are_rows_in_the_order_of_the_product(tmp_path: Path) -> None:
    samples = [[0.1, 0.2], [0.3], [0.4], [0.5]]
    path = write_asv(tmp_path, {NAME: asv_entry(AXES, [0.15, 0.3, 0.4, 0.5], samples)}, KNOWN)

    table = load([path]).samples

    assert list(table["value"]) == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert list(table["case"].unique()) == [
        f"{NAME}('direct', 'cold_file')",
        f"{NAME}('direct', 'warm')",
        f"{NAME}('torch', 'cold_file')",
        f"{NAME}('torch', 'warm')",
    ]
    assert set(table["code"]) == {"62589e8ee7"}
    assert set(table["cache_state"]) == {"cold_file", "warm"}


def test_without_samples_a_row_stands_for_all_of_them(tmp_path: Path) -> None:
    path = write_asv(tmp_path, {NAME: asv_entry(AXES, [0.1, 0.2, 0.3, 0.4])}, KNOWN)

    row = load([path]).samples.iloc[0]

    assert (row["n"], row["value"]) == (12, 0.1)
    assert (row["low"], row["q25"], row["q75"], row["high"]) == pytest.approx(
        (0.098, 0.099, 0.101, 0.102)
    )


def test_failures_and_refusals_are_rows(tmp_path: Path) -> None:
    path = write_asv(tmp_path, {NAME: asv_entry(AXES, [0.1, None, math.nan, 0.4])}, KNOWN)

    table = load([path]).samples

    assert list(table["status"]) == ["ok", "failed", "skipped", "ok"]
    assert table["reason"][2].startswith("asv has n/a")


def test_a_benchmark_that_failed_in_all_cases_is_stored_as_null(tmp_path: Path) -> None:
    entry = [None, [[repr(value) for value in axis] for axis in AXES], "1"]
    path = write_asv(tmp_path, {NAME: entry}, KNOWN)

    assert list(load([path]).samples["status"]) == ["failed"] * 4


def test_another_version_of_the_benchmark_is_stale(tmp_path: Path) -> None:
    path = write_asv(tmp_path, {NAME: asv_entry(AXES, [0.1, 0.2, 0.3, 0.4])}, KNOWN, version="2")

    table = load([path]).samples

    assert set(table["status"]) == {"stale"}
    assert table["reason"][0] == "measured with version 1 of the benchmark; it now has 2"
    assert table["value"].isna().all()


def test_without_benchmarks_json_parameters_have_numbers_for_names(tmp_path: Path) -> None:
    path = write_asv(tmp_path, {NAME: asv_entry(AXES, [0.1, 0.2, 0.3, 0.4])}, None)

    results = load([path])

    assert results.samples["params"][0] == {"param1": "direct", "param2": "cold_file"}
    assert "no benchmarks.json" in results.notes[0]


def test_parameters_keep_their_types(tmp_path: Path) -> None:
    entry = asv_entry(((1, 2.5, True, "x"),), [1.0, 1.0, 1.0, 1.0])
    path = write_asv(tmp_path, {NAME: entry}, {NAME: ("size",)})

    values = [params["size"] for params in load([path]).samples["params"]]

    assert values == [1, 2.5, True, "x"]
    assert [type(value) for value in values] == [int, float, bool, str]


@pytest.mark.parametrize("folder", ["", "testbox"])
def test_folders_of_asv(tmp_path: Path, folder: str) -> None:
    write_asv(tmp_path, {"mod.time_x": [[0.5]]}, {"mod.time_x": ()})

    assert list(load([tmp_path / folder]).samples["case"]) == ["mod.time_x"]


def test_errors_name_file_field_found_and_expected(tmp_path: Path) -> None:
    entry = asv_entry(AXES, [0.1, 0.2])
    path = write_asv(tmp_path, {NAME: entry}, KNOWN)

    with pytest.raises(InputError) as caught:
        load([path])

    text = str(caught.value)
    assert text.startswith(f"{path}: results.{NAME}.result: found a list")
    assert text.endswith("expected a list of 4 items, one a case")


def test_an_unknown_version_of_the_file(tmp_path: Path) -> None:
    path = write_asv(tmp_path, {NAME: asv_entry(AXES, [0.1] * 4)}, KNOWN)
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 3}))

    with pytest.raises(InputError, match="version: found 3, expected 2"):
        load([path])


def test_a_commit_is_found_by_the_beginning_of_its_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_module, "ASV_RESULTS", tmp_path)
    path = write_asv(tmp_path, {"mod.time_x": [[0.5]]}, {"mod.time_x": ()})

    assert resolve("62589e") == [path]
    assert resolve("62589e8ee77dae76") == [path]


@pytest.mark.parametrize(
    ("name", "expected"), [("abcdef12", "no results of commit abcdef12"), ("nix!", "and no commit")]
)
def test_what_is_neither_file_nor_commit(name: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        resolve(name)


BENCHMARK = """
class Load:
    params = [["direct", "absent", "broken"], [1, 2]]
    param_names = ["format", "size"]
    number, repeat, rounds, warmup_time, version = 1, 3, 1, 0, "1"

    def setup(self, format, size):
        if format == "absent":
            raise NotImplementedError("absent is not installed")
        if format == "broken":
            raise ValueError("broken")

    def time_load(self, format, size):
        sum(range(1000))
"""


@pytest.mark.slow
def test_what_asv_itself_writes_is_read(tmp_path: Path) -> None:
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__init__.py").touch()
    (tmp_path / "benchmarks" / "mod.py").write_text(BENCHMARK)
    config = {"version": 1, "project": "x", "project_url": "", "repo": ".", "branches": ["HEAD"]}
    config["environment_type"] = "existing"
    (tmp_path / "asv.conf.json").write_text(
        json.dumps({**config, "benchmark_dir": "benchmarks", "results_dir": "results"})
    )
    home = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    asv = [sys.executable, "-m", "asv"]
    existing = ["-E", f"existing:{sys.executable}", "--set-commit-hash", "HEAD"]
    commands = [
        [*git, "init", "-q"],
        [*git, "add", "benchmarks"],
        [*git, "commit", "-qm", "one"],
        [*asv, "machine", "--yes", "--machine", "box"],
        [*asv, "run", "--machine", "box", *existing],
    ]
    for command in commands:
        done = subprocess.run(command, cwd=tmp_path, env=home, capture_output=True, text=True)
        assert done.returncode in (0, 2), done.stderr  # 2: a benchmark failed, as one here does

    table = load([tmp_path / "results"]).samples

    assert list(table["case"]) == [
        f"mod.Load.time_load({format!r}, {size})"
        for format in ("direct", "absent", "broken")
        for size in (1, 2)
    ]
    assert list(table["status"]) == ["ok"] * 2 + ["skipped"] * 2 + ["failed"] * 2
    assert (table["n"][0], table["value"][0] > 0) == (3, True)
