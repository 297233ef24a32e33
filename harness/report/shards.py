"""Runs as people think of them: the files that several processes wrote of one run are one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from harness.records import LimitsLine
from harness.report.table import RunFacts


def whole_runs(runs: Sequence[RunFacts], settings: Mapping[str, str]) -> list[RunFacts]:
    """Merge the runs that share a folder and a setting, in order of appearance.

    Args:
        runs: as they were loaded, one a file.
        settings: the setting of each run, by its name.

    Returns:
        One run a folder and setting, called as its folder; ``shards`` says how many it stands for.
    """
    groups: dict[tuple[str, str], list[RunFacts]] = {}
    for run in runs:
        groups.setdefault((str(run.folder or run.source), settings[run.run]), []).append(run)
    return [_merged(group) for group in groups.values()]


def _merged(shards: Sequence[RunFacts]) -> RunFacts:
    first = min(shards, key=lambda run: run.started_at)
    if first.folder is None:
        return first
    return replace(
        first,
        source=first.folder,
        run=f"{first.section}/{first.folder.name}" if first.section else first.folder.name,
        limits=_first_and_last(line for run in shards for line in run.limits),
        notes=tuple(note for run in shards for note in run.notes),
        shards=len(shards),
    )


def _first_and_last(lines: Iterable[LimitsLine]) -> tuple[LimitsLine, ...]:
    """Return limits by time, with the first probe at a begin and the last one at an end alone."""
    ordered = sorted(lines, key=lambda line: line.taken_at)
    begins = [line for line in ordered if line.when == "begin"][:1]
    ends = [line for line in ordered if line.when == "end"][-1:]
    return (*begins, *(line for line in ordered if line.when == "round"), *ends)
