"""A comparison on a pull request: the comment, the job's annotation, and when the job fails."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from harness import exit_codes
from harness.errors import InputError
from harness.report import tables
from harness.report.compared_table import compared_table, reasons
from harness.report.comparison import NOT_COMPARED, UNCHANGED, Compared, summary_line
from harness.units import count

MARK: Final = "<!-- bench-core compare -->"
"""The comment's first line, by which the next one finds it and takes its place."""
LONGEST: Final = 60_000
"""Letters; GitHub takes 65,536."""
MOST_REASONS: Final = 20
SUMMARY_VARIABLE: Final = "GITHUB_STEP_SUMMARY"
"""Names the file that becomes the job's page."""

_OUTCOMES: Final = {
    exit_codes.FINE: ("notice", "Nothing is slower"),
    exit_codes.SLOWER: ("error", "Slower"),
    exit_codes.BROKEN: ("error", "Broken"),
    exit_codes.CANNOT_TELL: ("warning", "Cannot tell"),
}
"""Exit code of a comparison to the annotation's level and title."""


def comment(
    found: Sequence[Compared], title: str, names: tuple[str, str], notes: Sequence[str]
) -> str:
    """Return the comment in Markdown: what needs attention first, what is unchanged folded away.

    It is never longer than `LONGEST`: rows that do not fit are counted.

    Args:
        found: the comparisons.
        title: what was compared.
        names: of the two columns of medians.
        notes: what a reader has to know.
    """
    quiet = [item for item in found if item.verdict in (UNCHANGED, NOT_COMPARED)]
    loud = [item for item in found if item not in quiet]
    lines = [MARK, f"**{summary_line(found)}**", ""]
    told = [*reasons(loud), *(f"note: {note}" for note in notes)]
    lines += [f"* {_plain(line)}" for line in told[:MOST_REASONS]]
    if len(told) > MOST_REASONS:
        lines.append(f"* … and {len(told) - MOST_REASONS} more")
    head = "\n".join(lines)
    parts = [head, *_tables(loud, quiet, title, names, LONGEST - len(head))]
    return "\n\n".join(part for part in parts if part) + "\n"


def annotation(code: int, summary: str) -> str:
    """Return the line by which a job is annotated, for a comparison's exit code."""
    level, title = _OUTCOMES[code]
    return f"::{level} title=bench-core, {title.lower()}::{summary}"


def job_code(code: int) -> int:
    """Return what a job ends with: only what is slower or broken fails it."""
    return exit_codes.FINE if code == exit_codes.CANNOT_TELL else code


def publish(text: str, path: Path) -> None:
    """Write a comment to its file, and to the job's page if this is a job.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error
    summary = os.environ.get(SUMMARY_VARIABLE)
    if summary:
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(text)


def _tables(
    loud: Sequence[Compared],
    quiet: Sequence[Compared],
    title: str,
    names: tuple[str, str],
    room: int,
) -> Iterator[str]:
    shown = _fitting(loud, title, names, room)
    yield shown
    if quiet:
        text = _fitting(quiet, title, names, room - len(shown) - 200)
        yield (
            f"<details><summary>{count(len(quiet), 'case')} unchanged or not compared</summary>"
            f"\n\n{text}\n\n</details>"
        )


def _fitting(found: Sequence[Compared], title: str, names: tuple[str, str], room: int) -> str:
    """Return the table of as many cases as there is room for, by halves."""
    kept = len(found)
    while kept:
        text = tables.markdown(compared_table(found[:kept], title, *names))
        left = len(found) - kept
        text += f"\n\n… and {count(left, 'more case')}, as in the job's log" if left else ""
        if len(text) <= room:
            return text
        kept //= 2
    return f"{count(len(found), 'case')}, as in the job's log" if found else ""


def _plain(line: str) -> str:
    """Return a line that Markdown shows as it is: errors come from the code under test."""
    return f"`{line.replace('`', chr(39))}`"
