from __future__ import annotations

import io
from pathlib import Path

import pytest
from report_builders import interleaved, record, write_run
from rich.console import Console

from harness.report.analysis import Analysis, analyse, not_measured
from harness.report.display import Cell, DisplayRow, DisplayTable, display_table
from harness.report.highlights import highlights
from harness.report.load import load
from harness.report.tables import latex, markdown, print_terminal

MEDIANS = {"direct": 0.12, "safetensors": 0.2, "torch": 0.4}


def analysis(tmp_path: Path, records: list[object]) -> Analysis:
    return analyse(load([write_run(tmp_path / "run.jsonl", records)]))  # type: ignore[arg-type]


def table(tmp_path: Path, records: list[object]) -> DisplayTable:
    (work,) = analysis(tmp_path, records).works
    return display_table(work)


def column(shown: DisplayTable, name: str) -> list[str]:
    position = shown.columns.index(name)
    return [row.cells[position].text for row in shown.rows]


def printed(shown: DisplayTable, width: int) -> str:
    stream = io.StringIO()
    print_terminal(shown, Console(file=stream, width=width, highlight=False))
    return stream.getvalue()


def test_cases_stand_by_condition_and_speed(tmp_path: Path) -> None:
    records = interleaved(MEDIANS, params={"cache": "warm"}) + interleaved(MEDIANS)
    records.append(record(None, status="skipped", reason="absent", params={"format": "lmdb"}))

    shown = table(tmp_path, records)

    names = ["direct", "safetensors", "torch"]
    assert column(shown, "format") == [*names, "lmdb", *names]
    assert column(shown, "cache") == ["cold_file"] * 4 + ["warm"] * 3
    assert [row.begins for row in shown.rows] == [False] * 4 + [True] + [False] * 2
    assert [row.is_ours for row in shown.rows] == [True, *[False] * 3, True, *[False] * 2]
    assert column(shown, "median")[3] == "skipped"
    assert column(shown, "verdict")[:4] == ["faster", "best peer", "slower", "–"]
    assert (
        shown.subtitle == "model=stack_64x4MiB; amd-epyc-2c-vm, commit 62589e8ee7; "
        "verdicts beyond 5 %"
    )


def test_what_was_left_out_stands_beside_the_number_of_samples(tmp_path: Path) -> None:
    failed = record(None, status="failed", reason="x")
    unproved = record(0.1, status="unproved", reason="y")

    shown = table(tmp_path, [record(), record(), failed, unproved])

    assert column(shown, "n") == ["2 + 1 failed + 1 unproved"]


def test_a_share_above_the_limit_is_marked(tmp_path: Path) -> None:
    shown = table(tmp_path, [record(0.25, ideal_seconds=0.3)])

    assert column(shown, "of limit") == ["120 % !"]


def test_columns_without_content_are_left_out(tmp_path: Path) -> None:
    shown = table(tmp_path, [record(3.0, unit="share of pages", ideal_seconds=None)])

    assert shown.columns == ("n", "median", "quartiles", "min")


def test_the_terminal_shows_everything_where_there_is_room(tmp_path: Path) -> None:
    text = printed(table(tmp_path, interleaved(MEDIANS)), 200)

    assert all(word in text for word in ("direct", "quartiles", "time / best peer", "faster"))


@pytest.mark.parametrize("width", [50, 80])
def test_a_narrow_terminal_loses_columns_but_no_digits(tmp_path: Path, width: int) -> None:
    text = printed(table(tmp_path, interleaved(MEDIANS)), width)

    assert "…" not in text
    assert "GB/s" in text
    assert "quartiles" not in text


NASTY = DisplayTable(
    title="a_b|c",
    subtitle="50% & <tag>",
    columns=("x_y", "time"),
    rows=(
        DisplayRow((Cell("[a|b]_$#{}~^\\"), Cell("1 µs", 1e-6)), is_ours=True),
        DisplayRow((Cell("c"), Cell("–")), begins=True),
    ),
    words=1,
)


def test_markdown_is_escaped() -> None:
    lines = markdown(NASTY).splitlines()

    assert lines[0] == r"### a\_b\|c"
    assert lines[2] == "50% & &lt;tag>"
    assert lines[4:] == [
        r"| x\_y | time |",
        "| --- | ---: |",
        r"| **[a\|b]\_$#{}~^\** | **1 µs** |",
        "| c | – |",
    ]


def test_latex_is_escaped() -> None:
    text = latex(NASTY)

    cell = (
        r"\textbf{{[}a\textbar{}b{]}\_\$\#\{\}\textasciitilde{}"
        r"\textasciicircum{}\textbackslash{}}"
    )
    assert rf"{cell} & \textbf{{1 \textmu{{}}s}} \\" in text
    assert "\\addlinespace\nc & -- \\\\" in text
    assert r"\begin{tabular}{lr}" in text
    assert text.startswith("% a_b|c: 50% & <tag>\n")


def test_the_answer_names_the_fastest_and_holds_ours_against_the_best_peer(tmp_path: Path) -> None:
    records = interleaved({"direct": 0.5, "safetensors": 0.2, "torch": 0.4}, rounds=8)

    (found,) = highlights(analysis(tmp_path, records).works)

    assert (found.fastest, found.ours, found.best_peer) == ("safetensors", "direct", "safetensors")
    assert found.verdict == "slower"
    assert found.against_best.startswith("2.")


def test_everything_that_was_not_measured_is_listed_once_a_reason(tmp_path: Path) -> None:
    absent = [
        record(None, status="skipped", reason="absent", params={"format": name})
        for name in ("lmdb", "redis")
    ]
    unproved = [record(0.1, status="unproved", reason="warm")] * 3
    found = analysis(tmp_path, [record(), *absent, *unproved])

    listed = not_measured(found.results.samples)

    assert list(listed["status"]) == ["skipped", "unproved"]
    assert list(listed["n"]) == [2, 3]
    assert [len(names) for names in listed["cases"]] == [2, 1]


def test_warnings(tmp_path: Path) -> None:
    from report_builders import LIMITS, header, machine

    facts = machine(load_average=[7.5, 1, 1], git={"commit": "c" * 40, "dirty": True})
    ended = {**LIMITS, "sequential_read": 1.1e9}
    path = write_run(
        tmp_path / "run.jsonl",
        [record(0.05), record(0.05)],
        header(machine=facts),
        limits=[("begin", LIMITS), ("end", ended)],
    )

    text = "\n".join(analyse(load([path])).warnings)

    assert "limits drifted by more than 20 % during the run: sequential_read -50%" in text
    assert "uncommitted changes" in text
    assert "load average 7.5 on 2 cores" in text
    assert "faster than the ideal time (233 %)" in text
    assert "2 samples, fewer than 6" in text


def test_a_quiet_run_has_no_warnings(tmp_path: Path) -> None:
    assert analysis(tmp_path, interleaved(MEDIANS)).warnings == ()
