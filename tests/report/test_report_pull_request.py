"""A comparison on a pull request: what the comment holds, and when the job fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import InputError
from harness.report.comparison import Compared
from harness.report.pull_request import (
    LONGEST,
    MARK,
    annotation,
    comment,
    job_code,
    publish,
)
from harness.statistics import Ratio

NAMES = ("A", "B")


def judged(case: str, verdict: str, reason: str = "") -> Compared:
    ratio = None if reason else Ratio(1.2, 1.1, 1.3, 8, 8, 8)
    return Compared(case, verdict, "seconds", 1.0, 1.2, ratio, 0.05, reason)


def text_of(*found: Compared, notes: tuple[str, ...] = ()) -> str:
    return comment(found, "A: one; B: two", NAMES, notes)


def test_what_needs_attention_is_shown_and_the_rest_is_folded_away() -> None:
    text = text_of(judged("m.a", "unchanged"), judged("m.b", "slower"), judged("m.c", "unchanged"))

    assert text.startswith(f"{MARK}\n**3 cases: 1 slower, 2 unchanged**\n")
    shown, _, folded = text.partition("<details>")
    assert "| m.b |" in shown and "| m.a |" not in shown
    assert folded.startswith("<summary>2 cases unchanged or not compared</summary>")
    assert "| m.a |" in folded and "| m.c |" in folded


def test_reasons_and_notes_stand_before_the_tables_as_plain_text() -> None:
    nasty = "</details>`x` @everyone ![](y)"

    text = text_of(judged("m.a", "broken", nasty), notes=("A and B differ: kernel",))

    assert f"* `broken: m.a: {nasty.replace('`', chr(39))}`" in text
    assert "* `note: A and B differ: kernel`" in text


@pytest.mark.parametrize("verdict", ["slower", "unchanged"])
def test_a_comment_is_never_too_long(verdict: str) -> None:
    found = [judged(f"module.Class.time_case({number!r:>200})", verdict) for number in range(2000)]

    text = comment(found, "title", NAMES, ["x" * 80] * 100)

    assert len(text) <= LONGEST
    assert "more cases, as in the job's log" in text
    assert "* … and 80 more" in text


@pytest.mark.parametrize(
    ("code", "job", "expected"),
    [
        (0, 0, "::notice title=bench-core, nothing is slower::3 cases"),
        (1, 1, "::error title=bench-core, slower::3 cases"),
        (3, 3, "::error title=bench-core, broken::3 cases"),
        (4, 0, "::warning title=bench-core, cannot tell::3 cases"),
    ],
)
def test_only_slower_and_broken_fail_the_job(code: int, job: int, expected: str) -> None:
    assert job_code(code) == job
    assert annotation(code, "3 cases") == expected


def test_the_comment_is_also_added_to_the_job_s_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "summary.md"
    page.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))

    publish("text\n", tmp_path / "comment.md")

    assert (tmp_path / "comment.md").read_text() == "text\n"
    assert page.read_text() == "before\ntext\n"


def test_outside_of_a_job_there_is_the_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)

    publish("text\n", tmp_path / "comment.md")

    assert [path.name for path in tmp_path.iterdir()] == ["comment.md"]
    with pytest.raises(InputError, match=r"comment\.md cannot be written: "):
        publish("text\n", tmp_path / "absent" / "comment.md")
