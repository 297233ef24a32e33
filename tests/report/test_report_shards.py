from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from report_builders import LIMITS, header, interleaved, machine, record, write_run

from harness.errors import InputError
from harness.records import Record
from harness.report.analysis import analyse
from harness.report.build import build
from harness.report.load import load, newest_run
from harness.report.ratios import ratio_of
from harness.report.shards import whole_runs
from harness.report.weak_runs import probes

SHARDS = 3


def run_folder(folder: Path, records: list[Record], day: int = 21) -> Path:
    """Write a run's folder with a third of the samples in each of its files, and what is none."""
    (folder / "logs").mkdir(parents=True)
    (folder / "experiment.json").write_text("{}")
    (folder / "logs" / "cell.jsonl").write_text("not a file of samples\n")
    for number in range(SHARDS):
        started = f"2026-11-{day}T0{number}:00:00.000+00:00"
        limits = [("begin", {**LIMITS, "memcpy": 1e9 * (number + 1)}), ("end", LIMITS)]
        head = header(f"{folder.name}-{number}", settings={"code": "c" * 64}, started_at=started)
        write_run(folder / f"{number}.jsonl", records[number::SHARDS], head, limits)
    return folder


def test_a_run_s_folder_is_its_files_at_the_top(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "quick" / "box-1", interleaved({"direct": 0.1}))

    results = load([folder])

    assert len(results.samples) == 6
    assert len(results.runs) == SHARDS
    assert not results.notes


def test_a_file_without_a_whole_line_is_left_out_and_noted(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "box-1", [record()] * 3)
    (folder / "9.jsonl").write_text('{"kind": "ru')

    results = load([folder])

    assert len(results.samples) == 3
    assert "9.jsonl: left out" in results.notes[0]


def test_a_whole_run_stands_for_its_files(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "quick" / "box-1", [record()] * 3)
    other = write_run(tmp_path / "old.jsonl", [record()], header("old"))
    results = load([folder, other])

    run, single = whole_runs(results.runs, results.settings)

    assert (run.run, run.shards, run.source) == ("quick/box-1", SHARDS, folder)
    assert (single.run, single.shards) == ("old", 1)
    begin, end = probes(run)
    assert begin is not None and end is not None
    assert run.started_at.startswith("2026-11-21T00")


def test_a_folder_of_two_machines_is_two_runs(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "box-1", [record()] * 3)
    write_run(folder / "7.jsonl", [record()], header("other", machine=machine(kernel="6.1")))
    results = load([folder])

    assert [run.shards for run in whole_runs(results.runs, results.settings)] == [3, 1]


def test_the_page_has_one_block_for_all_files(tmp_path: Path) -> None:
    dirty = machine(git={"commit": "62589e8ee7", "dirty": True})
    folder = run_folder(tmp_path / "quick" / "box-1", interleaved({"direct": 0.1, "torch": 0.2}))
    for path in folder.glob("*.jsonl"):
        content = load([path]).runs[0]
        assert content.folder == folder
    write_run(
        folder / "8.jsonl",
        interleaved({"direct": 0.1}),
        header("box-1-8", settings={"code": "c" * 64}, machine=dirty),
    )

    analysis = analyse(load([folder]))
    page = build(analysis, tmp_path / "out", most_figures=0).page.read_text(encoding="utf-8")

    assert page.count("quick/box-1 (run, from 4 files)") == 1
    assert page.count("git checkout") == 1
    assert f"bench-core report {folder}" in page
    assert len(analysis.works) == 1


def test_the_newest_run_is_a_folder_where_runs_lie_in_folders(tmp_path: Path) -> None:
    early = run_folder(tmp_path / "quick" / "box-1", [record()] * 3, day=20)
    late = run_folder(tmp_path / "durable" / "box-1", [record()] * 3, day=22)
    single = replace(header("single"), started_at="2026-11-21T00:00:00+00:00")
    write_run(tmp_path / "single.jsonl", [record()], single)

    assert newest_run(tmp_path) == late
    for path in late.glob("*.jsonl"):
        path.unlink()
    assert newest_run(tmp_path).name == "single.jsonl"
    (tmp_path / "single.jsonl").unlink()
    assert newest_run(tmp_path) == early


def test_a_folder_that_was_not_begun_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "box-1").mkdir()
    (tmp_path / "box-1" / "experiment.json").write_text("{}")

    with pytest.raises(InputError, match="no runs under"):
        newest_run(tmp_path)


def test_rounds_of_two_repetitions_are_not_one(tmp_path: Path) -> None:
    records = [
        replace(item, repetition=repetition, process=repetition)
        for repetition in (0, 1)
        for item in interleaved({"direct": 0.1, "torch": 0.2}, rounds=3, seed=repetition)
    ]

    samples = load([write_run(tmp_path / "run.jsonl", records)]).samples
    a, b = (samples[samples["param_format"] == name] for name in ("direct", "torch"))

    assert ratio_of(a, b).groups == 6
    assert list(samples["repetition"]) == [0.0] * 6 + [1.0] * 6


def test_what_a_benchmark_noted_is_in_the_table(tmp_path: Path) -> None:
    extra = {"phases": {"read": 0.1}, "twin": True, "top1": 0.7}

    row = load([write_run(tmp_path / "run.jsonl", [record(extra=extra, seed=3)])]).samples.iloc[0]

    assert row["extra"] == {"top1": 0.7}
    assert (row["seed"], row["phases"], row["is_twin"]) == (3.0, {"read": 0.1}, True)


def test_a_failed_sample_that_was_taken_again_is_left_out_and_noted(tmp_path: Path) -> None:
    samples = interleaved({"direct": 0.1}, rounds=3)
    failed = replace(samples[0], status="failed", reason="disk full", value=None)
    later = replace(samples[0], started_at="2026-11-21T09:00:00.000+00:00")
    folder = run_folder(tmp_path / "quick" / "box-1", [failed, *samples[1:], later])

    results = load([folder])

    assert list(results.samples["status"]) == ["ok"] * 3
    assert results.notes == (f"{folder}: 1 failed sample left out, taken again later",)


def test_a_sample_that_failed_again_stays_failed(tmp_path: Path) -> None:
    samples = interleaved({"direct": 0.1}, rounds=3)
    failed = replace(samples[0], status="failed", reason="disk full", value=None)
    again = replace(failed, started_at="2026-11-21T09:00:00.000+00:00")
    folder = run_folder(tmp_path / "quick" / "box-1", [failed, *samples[1:], again])

    assert sorted(load([folder]).samples["status"]) == ["failed", "ok", "ok"]
