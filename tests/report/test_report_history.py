"""Cases over commits: their order, the steps in them, and how changes are told."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_builders import asv_entry, write_asv

from harness.cli import main
from harness.report import history as module
from harness.report.analysis import analyse
from harness.report.build import build
from harness.report.charts.history import HistoryPoint, Step
from harness.report.history import histories, in_order, steps_in
from harness.report.history_page import changes_table, files, summary_line
from harness.report.load import load

NAME = "mod.Load.time_load"
SECONDS_A_DAY = 86400


def points(values: Sequence[float], width: float = 0.02) -> list[HistoryPoint]:
    return [
        HistoryPoint(f"{number:040x}", f"2026-01-{number + 1:02d}", value, low, high)
        for number, value in enumerate(values)
        for low, high in [(value * (1 - width), value * (1 + width))]
    ]


def noisy(levels: Sequence[float], seed: int = 0) -> list[float]:
    random = np.random.default_rng(seed)
    return [float(level * np.exp(random.normal(0, 0.01))) for level in levels]


def write_history(folder: Path, levels: Sequence[float], samples: bool = True) -> list[str]:
    """Write asv's results of one case at a commit a day; return the commits, the oldest first."""
    # The names run backward, so that the order cannot come from the names of the files.
    commits = [f"{90 - number:02d}" * 20 for number in range(len(levels))]
    for number, (commit, value) in enumerate(zip(commits, noisy(levels), strict=True)):
        taken = [[value * factor for factor in (0.99, 1.0, 1.01) * 2]] if samples else None
        entry = asv_entry((("direct",),), [value], taken)
        path = write_asv(folder, {NAME: entry}, {NAME: ("format",)}, commit=commit)
        content = json.loads(path.read_text())
        content["date"] = 1795249103000 + number * 1000 * SECONDS_A_DAY
        path.write_text(json.dumps(content))
    return commits


def test_a_step_is_found_where_it_is() -> None:
    steps, slower = steps_in(points(noisy([1.0] * 8 + [1.3] * 6)))

    assert [(step.first, step.last) for step in steps] == [(0, 7), (8, 13)]
    assert [step.level for step in steps] == pytest.approx([1.0, 1.3], rel=0.02)
    assert slower == pytest.approx(1.3, rel=0.03)


def test_a_case_that_got_faster_changed_but_is_not_slower() -> None:
    steps, slower = steps_in(points(noisy([1.0] * 6 + [0.5] * 6)))

    assert len(steps) == 2
    assert slower is None


def test_a_regression_that_was_mended_is_two_changes_and_none_now() -> None:
    steps, slower = steps_in(points(noisy([1.0] * 6 + [1.5] * 5 + [1.0] * 6)))

    assert [(step.first, step.last) for step in steps] == [(0, 5), (6, 10), (11, 16)]
    assert slower is None


def test_noise_alone_has_no_steps() -> None:
    for seed in range(20):
        steps, slower = steps_in(points(noisy([1.0] * 20, seed)))
        assert (len(steps), slower) == (1, None)


def test_steps_below_the_threshold_are_one() -> None:
    series = points([1.0] * 10 + [1.04] * 10, width=0.001)

    assert [(step.first, step.last) for step in steps_in(series)[0]] == [(0, 19)]
    assert steps_in(series)[0][0].level == pytest.approx(1.02)
    assert len(steps_in(series, threshold=0.02)[0]) == 2


@pytest.mark.parametrize("commits", [0, 1, 3])
def test_of_few_commits_nothing_is_said(commits: int) -> None:
    assert steps_in(points([1.0, 2.0, 3.0][:commits])) == ([], None)


@given(
    st.lists(st.floats(0.1, 10.0), min_size=4, max_size=40),
    st.floats(0.0, 0.5),
)
def test_steps_cover_the_series_and_neighbours_are_apart(
    values: list[float], threshold: float
) -> None:
    steps, _ = steps_in(points(values), threshold)

    assert [step.first for step in steps] == [0, *(step.last + 1 for step in steps[:-1])]
    assert steps[-1].last == len(values) - 1
    for a, b in pairwise(steps):
        low, high = sorted((a.level, b.level))
        assert high / low > 1 + threshold


def test_unknown_intervals_have_the_usual_weight() -> None:
    nan = float("nan")
    series = [
        HistoryPoint(f"{n}", "", value, nan, nan) for n, value in enumerate([1.0] * 5 + [2.0] * 5)
    ]

    assert [step.last for step in steps_in(series)[0]] == [4, 9]


@pytest.mark.parametrize("samples", [True, False])
def test_a_history_is_read_from_asv_by_date(tmp_path: Path, samples: bool) -> None:
    commits = write_history(tmp_path, [0.2] * 6 + [0.3] * 5, samples)

    (found,) = histories(load([tmp_path]))

    assert found.case == f"{NAME}('direct')"
    assert [point.commit for point in found.points] == commits
    assert all(point.low <= point.value <= point.high for point in found.points)
    (change,) = found.changes
    assert (change.commit, change.commits) == (commits[6], 5)
    assert change.ratio == pytest.approx(1.5, rel=0.03)
    assert found.slower_than_best == pytest.approx(1.5, rel=0.03)


def test_one_commit_is_no_history(tmp_path: Path) -> None:
    write_history(tmp_path, [0.2])

    assert histories(load([tmp_path])) == []


def test_commits_that_git_knows_stand_in_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    commits = []
    for day in ("2026-03-03", "2026-03-01", "2026-03-02"):
        date = f"--date={day}T00:00:00"
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x", date], check=True)
        head = subprocess.run(
            [*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
        )
        commits.append(head.stdout.strip())
    dates = dict(zip(commits, ("2026-03-03", "2026-03-01", "2026-03-02"), strict=True))

    assert in_order(dates) == commits
    assert in_order({**dates, "f" * 40: "2026-03-04"}) == [
        commits[1], commits[2], commits[0], "f" * 40,
    ]  # fmt: skip


def test_the_table_begins_with_the_largest_change(tmp_path: Path) -> None:
    commits = write_history(tmp_path, [0.2] * 6 + [0.3] * 6 + [0.1] * 6)

    table = changes_table(histories(load([tmp_path])))

    assert table.columns == (
        "case", "commit", "date", "before", "after", "ratio", "commits since",
    )  # fmt: skip
    shown = [(row.cells[1].text, row.cells[6].text) for row in table.rows]
    assert shown == [(commits[12][:10], "6"), (commits[6][:10], "6")]
    assert table.rows[0].cells[5].key == pytest.approx(1 / 3, rel=0.05)


def test_only_the_largest_changes_are_drawn(tmp_path: Path) -> None:
    write_history(tmp_path, [0.2] * 6 + [0.3] * 6)
    results = load([tmp_path])
    (changed,) = histories(results)
    flat = module.History(
        "flat", changed.setting, "seconds", changed.points, (Step(0, 11, 0.2),), None
    )

    (saved,) = files([flat, changed], results, tmp_path, most=1)

    assert saved.history is changed
    assert saved.png.name == "history_mod_Load_time_load_direct.png"
    assert saved.caption.startswith("Machine testbox")
    assert summary_line([flat, changed]) == (
        "2 cases over 12 commits: 1 change; 1 slower now than at their best"
    )


def test_the_page_of_asv_s_folder_marks_the_changes(tmp_path: Path) -> None:
    commits = write_history(tmp_path / "asv", [0.2] * 5 + [0.3] * 5)

    report = build(analyse(load([tmp_path / "asv"])), tmp_path / "out", most_figures=1)

    page = report.page.read_text(encoding="utf-8")
    section = page.partition('<h2 id="history">')[2].partition("<h2")[0]
    assert "Changes over the history" in section
    assert commits[5][:10] in section and commits[4][:10] not in section
    assert section.count("<img") == 1
    names = {path.name for path in report.files}
    assert {f"history_mod_Load_time_load_direct.{kind}" for kind in ("png", "pdf")} <= names


def history(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["history", *map(str, arguments)])
    captured = capsys.readouterr()
    return int(caught.value.code or 0), captured.out, captured.err


def test_the_command_names_the_commit_and_tells_slower_by_its_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commits = write_history(tmp_path / "slower", [0.2] * 6 + [0.3] * 5)
    write_history(tmp_path / "faster", [0.3] * 6 + [0.2] * 5)

    code, out, err = history(capsys, tmp_path / "slower", "--figures", tmp_path / "plots")
    assert (code, err) == (1, "")
    assert commits[6][:10] in out
    assert out.splitlines()[-1].endswith("1 change; 1 slower now than at their best")
    assert len(list((tmp_path / "plots").iterdir())) == 2
    code, out, _ = history(capsys, tmp_path / "faster", "--markdown")
    assert code == 0
    assert "| case | commit | date | before | after | ratio | commits since |" in out
    code, out, err = history(capsys, tmp_path / "absent")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
