from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from report_builders import SIZE, header, machine, record, write_asv, write_run

from harness.errors import InputError
from harness.records import append_record
from harness.report.load import load, newest_run


def test_a_row_a_sample_with_what_is_derived(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run.jsonl", [record(0.25, round=3, return_seconds=0.1)])

    row = load([path]).samples.iloc[0]

    assert row["case"] == (
        "layer_loading.WholeModel.time_load('direct', 'cold_file', 'stack_64x4MiB')"
    )
    assert row["param_format"] == "direct"
    assert row["params"] == {
        "format": "direct",
        "cache": "cold_file",
        "model": "stack_64x4MiB",
    }
    assert (row["status"], row["value"], row["return_seconds"], row["round"]) == (
        "ok",
        0.25,
        0.1,
        3,
    )
    assert row["gb_per_s"] == pytest.approx(SIZE / 0.25 / 1e9)
    assert row["limit_gb_per_s"] == pytest.approx(2.2)
    assert row["efficiency"] == pytest.approx(SIZE / 2.2e9 / 0.25)
    assert (row["code"], row["machine"]) == ("62589e8ee7", "amd-epyc-2c-vm")


def test_other_units_have_no_throughput(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run.jsonl", [record(0.25, unit="share of pages")])

    row = load([path]).samples.iloc[0]

    assert row[["gb_per_s", "efficiency"]].isna().all()


def test_a_sample_whose_proof_failed_is_unproved_whatever_its_status(tmp_path: Path) -> None:
    cache = {"state": "cold_file", "proved": False, "reason": "12 % resident"}
    path = write_run(tmp_path / "run.jsonl", [record(cache=cache)])

    row = load([path]).samples.iloc[0]

    assert (row["status"], row["reason"]) == ("unproved", "12 % resident")


def test_a_sample_without_a_value_stays_a_row(tmp_path: Path) -> None:
    skipped = record(None, status="skipped", reason="lmdb is not installed", cache=None, bytes=None)
    path = write_run(tmp_path / "run.jsonl", [skipped])

    row = load([path]).samples.iloc[0]

    assert (row["status"], row["reason"], row["n"]) == ("skipped", "lmdb is not installed", 0)


def test_only_stated_phases_are_phases(tmp_path: Path) -> None:
    extra = {"phases": {"open": 0.01, "read": 0.2}, "event_seconds": 0.3}
    path = write_run(tmp_path / "run.jsonl", [record(extra=extra), record(extra={"x_seconds": 1})])

    phases = load([path]).samples["phases"]

    assert phases[0] == {"open": 0.01, "read": 0.2}
    assert phases[1] is None


def test_samples_without_a_header_are_read_and_say_so(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    append_record(path, record())

    results = load([path])

    assert len(results.samples) == 1
    assert "no run's header" in results.notes[0]


def test_dirty_trees_are_never_the_same_code(tmp_path: Path) -> None:
    dirty = machine(git={"commit": "62589e8ee7", "dirty": True})
    paths = [
        write_run(tmp_path / f"{name}.jsonl", [record()], header(name, machine=dirty))
        for name in ("first", "second")
    ]

    assert load(paths).samples["code"].nunique() == 2


def test_a_folder_is_searched_and_what_is_no_result_is_noted(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "a.jsonl", [record()])
    write_asv(tmp_path / "asv", {"mod.time_x": [[0.5]]}, {"mod.time_x": ()})
    (tmp_path / "other.json").write_text('{"a": 1}')

    results = load([tmp_path])

    assert sorted(run.runner for run in results.runs) == ["asv", "run"]
    assert any("other.json" in note for note in results.notes)


def test_a_copy_of_a_run_does_not_count_twice(tmp_path: Path) -> None:
    path = write_run(tmp_path / "a.jsonl", [record()])
    shutil.copy(path, tmp_path / "b.jsonl")

    results = load([tmp_path])

    assert len(results.samples) == 1
    assert any("the same run" in note for note in results.notes)


def test_the_newest_run_is_the_one_that_began_last(tmp_path: Path) -> None:
    old = replace(header("z"), started_at="2026-11-20T00:00:00+00:00")
    new = replace(header("a"), started_at="2026-11-21T00:00:00+00:00")
    write_run(tmp_path / "z.jsonl", [record()], old)
    write_run(tmp_path / "deep" / "a.jsonl", [record()], new)
    append_record(tmp_path / "samples.jsonl", record())

    assert newest_run(tmp_path).name == "a.jsonl"


def test_without_runs_the_error_says_how_to_take_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="bench-core run quick"):
        newest_run(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.json", "{", "is not JSON"),
        ("a.json", "[1]", "no run file, asv result or pytest-benchmark JSON"),
        ("a.jsonl", "", "does not begin with a run's header"),
        ("a.jsonl", '{"kind": "run", "schema": 99}', "use a newer bench-core"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, content: str, expected: str) -> None:
    path = tmp_path / name
    path.write_text(content)

    with pytest.raises(InputError, match=expected) as caught:
        load([path])

    assert str(path) in str(caught.value)


def test_a_missing_path_and_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load([tmp_path / "absent"])
    with pytest.raises(InputError, match="no results found"):
        load([tmp_path])


def test_a_run_without_samples_is_an_error(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run.jsonl", [])

    with pytest.raises(InputError, match="no samples found"):
        load([path])
