"""What makes a result weak, in one place for the page and for ``bench-core check``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final, Literal

import pandas as pd

from harness import exit_codes
from harness.report.settings import differences
from harness.report.table import PUBLISHED, Results, RunFacts
from harness.units import count

Severity = Literal["broken", "weak", "note"]
SEVERITIES: Final[dict[Severity, str]] = {
    "broken": "broken: samples that failed, so something is wrong",
    "weak": "weak: cannot be relied on as it stands",
    "note": "note: worth knowing",
}
"""All severities, the worst first, as headings."""

NOT_ON_PAGE: Final = frozenset({"failed", "unproved", "stale", "one process"})
"""Kinds that a report leaves out: its list "Not measured" has them, or they hold for most runs."""


@dataclass(frozen=True)
class Weakness:
    """One thing that makes a run or a case weak."""

    severity: Severity
    kind: str
    """A word or two; equal for weaknesses that are told together."""
    subject: str
    """The run or the case."""
    found: str
    mend: str
    """What to do about it."""
    size: float = 0.0
    """How bad it is among its kind, larger is worse."""


def find(results: Results, cases: pd.DataFrame) -> list[Weakness]:
    """Return all weaknesses of results, the worst severities first, each kind together.

    Args:
        results: what was loaded.
        cases: the table of `harness.report.summary.summarise` for them.
    """
    from harness.report import weak_cases, weak_runs
    from harness.report.shards import whole_runs

    # Of published numbers nothing is known but what their source says.
    runs = tuple(run for run in results.runs if not run.quoted)
    cases = cases[cases["runner"] != PUBLISHED]
    samples = results.samples[results.samples["runner"] != PUBLISHED]
    found = [
        *_mixed(runs, results),
        *weak_runs.find(whole_runs(runs, results.settings), samples),
        *weak_cases.find(cases, samples),
    ]
    kinds = list(dict.fromkeys(item.kind for item in found))
    severities = list(SEVERITIES)
    return sorted(
        found,
        key=lambda item: (severities.index(item.severity), kinds.index(item.kind), -item.size),
    )


def exit_code(found: Iterable[Weakness]) -> int:
    """Return the code for what was found: broken, then weak; notes alone are fine."""
    severities = {item.severity for item in found}
    if "broken" in severities:
        return exit_codes.BROKEN
    return exit_codes.CANNOT_TELL if "weak" in severities else exit_codes.FINE


def together(found: Sequence[Weakness]) -> list[str]:
    """Return a line for each kind: the one that has it, or how many do and which is the worst."""
    kinds: dict[str, list[Weakness]] = {}
    for item in found:
        kinds.setdefault(item.kind, []).append(item)
    return [_line(items) for items in kinds.values()]


def _line(items: Sequence[Weakness]) -> str:
    worst = max(items, key=lambda item: item.size)
    text = f"{worst.subject}: {worst.found}"
    return text if len(items) == 1 else f"{worst.kind}, {count(len(items), 'time')}, such as {text}"


def _mixed(runs: Sequence[RunFacts], results: Results) -> Iterator[Weakness]:
    """Yield what differs among runs that stand together, or side by side."""
    for setting, lines in results.differences.items():
        yield Weakness(
            "weak",
            "mixed runs",
            setting,
            f"runs that differ are mixed on request: {'; '.join(lines)}",
            "load them without --allow-different",
        )
    first: dict[str, RunFacts] = {}
    for run in runs:
        first.setdefault(results.settings[run.run], run)
    for (name_a, a), (name_b, b) in combinations(first.items(), 2):
        lines = differences(a.setting, b.setting)
        yield Weakness(
            "note",
            "several settings",
            f"{name_a} and {name_b}",
            f"are kept apart because they differ: {'; '.join(lines)}",
            "compare only what was measured in one of them",
            size=float(len(lines)),
        )
