"""Failed samples that were taken again: the later attempt takes their place."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from harness.report.table import Row, RunFacts, case_name
from harness.units import count

Loaded = tuple[RunFacts, list[Row]]


def without_retried(loaded: Sequence[Loaded], notes: list[str]) -> list[Loaded]:
    """Leave out failed samples that a later one of the same run's folder took the place of.

    Args:
        loaded: runs with their rows, one a file.
        notes: gets a line for each folder in which samples were left out.
    """
    newest: dict[Hashable, str] = {}
    for facts, rows in loaded:
        for row in rows if facts.folder is not None else ():
            key = _key(facts, row)
            newest[key] = max(newest.get(key, ""), row["started_at"])
    kept: list[Loaded] = []
    left_out: dict[str, int] = {}
    for facts, rows in loaded:
        good = [
            row
            for row in rows
            if row["status"] != "failed"
            or facts.folder is None
            or row["started_at"] >= newest[_key(facts, row)]
        ]
        if len(good) < len(rows):
            name = str(facts.folder)
            left_out[name] = left_out.get(name, 0) + len(rows) - len(good)
        kept.append((facts, good))
    for name, number in left_out.items():
        notes.append(f"{name}: {count(number, 'failed sample')} left out, taken again later")
    return kept


def _key(facts: RunFacts, row: Row) -> Hashable:
    """Return what a sample and its later attempt share."""
    case = case_name(row["benchmark"], row["params"])
    place = row["seed"], row["repetition"], row["round"], row["is_twin"]
    return (facts.folder, case, *place)
