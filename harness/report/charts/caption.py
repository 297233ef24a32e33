"""Captions: every figure names machine, commit, samples behind a point, cache state and date."""

from __future__ import annotations

import pandas as pd

from harness.report.charts.select import Selection
from harness.report.work import caption_of, machine_line, sample_counts
from harness.units import count


def caption(selection: Selection, points: pd.DataFrame, shown: str, per: str) -> str:
    """Return a figure's caption.

    Args:
        selection: its samples.
        points: the numbers that are drawn, with ``n``, the number of samples behind each.
        shown: sentences on what is drawn and how.
        per: what ``n`` samples stand behind: a point, a line, …
    """
    rows = selection.rows
    shown = " ".join(filter(None, [shown, _left_out(selection)]))
    if all(run.quoted for run in selection.runs):
        return _quoted(selection, points, shown, per)
    return caption_of(
        shown,
        selection.runs,
        _counts(rows, points, per),
        set(rows["cache_state"]),
        str(rows["started_at"].min())[:10],
        selection.differences,
    )


def _quoted(selection: Selection, points: pd.DataFrame, shown: str, per: str) -> str:
    """Return the caption of numbers that were published: their source in place of a commit."""
    sources = "; ".join(dict.fromkeys(run.quoted for run in selection.runs))
    numbers = sample_counts(points["n"]).replace("sample", "number")
    return f"{shown} {sources}. Machine {machine_line(selection.runs)}; {numbers} a {per}."


def _counts(rows: pd.DataFrame, points: pd.DataFrame, per: str) -> str:
    """Return how many samples a point has, and over how many seeds and repetitions they go."""
    parts = [f"{sample_counts(points['n'])} a {per}"]
    for name in ("seed", "repetition"):
        different = int(rows[name].nunique())
        parts += [count(different, name)] if different > 1 else []
    return ", ".join(parts)


def _left_out(selection: Selection) -> str:
    """Return how many samples are not drawn, and why."""
    if not selection.left_out:
        return ""
    parts = ", ".join(f"{n} {status}" for status, n in selection.left_out.items())
    return f"Not drawn: {count(sum(selection.left_out.values()), 'sample')} ({parts})."
