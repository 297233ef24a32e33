"""Shows comparisons: what needs attention first, with the reasons below the table."""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness import units
from harness.report.comparison import VERDICTS, Compared
from harness.report.display import MISSING, Cell, DisplayRow, DisplayTable


def compared_table(found: Sequence[Compared], title: str, base: str, judged: str) -> DisplayTable:
    """Return comparisons as a table; ``base`` and ``judged`` name the columns of medians."""
    ordered = sorted(found, key=lambda item: (VERDICTS.index(item.verdict), -_size(item)))
    return DisplayTable(
        title=title,
        subtitle=(
            f"ratio: {judged} over {base} at the medians (round by round where they were "
            "interleaved) and its interval; below 1 is faster"
        ),
        columns=("case", base, judged, "ratio", "threshold", "verdict"),
        rows=tuple(_row(item) for item in ordered),
        words=1,
    )


def reasons(found: Sequence[Compared]) -> list[str]:
    """Return a line for each case that has a reason beside its verdict."""
    return [f"{item.verdict}: {item.case}: {item.reason}" for item in found if item.reason]


def _row(item: Compared) -> DisplayRow:
    ratio = item.ratio
    shown = units.interval(ratio.value, ratio.low, ratio.high) if ratio else MISSING
    cells = (
        Cell(item.case),
        Cell(_median(item.base, item.unit), item.base),
        Cell(_median(item.judged, item.unit), item.judged),
        Cell(shown, ratio.value if ratio else None),
        Cell(units.percent(item.threshold), item.threshold),
        Cell(item.verdict),
    )
    return DisplayRow(cells, is_measured=ratio is not None)


def _median(value: float | None, unit: str) -> str:
    return MISSING if value is None else units.quantity(value, unit)


def _size(item: Compared) -> float:
    """Return how far a ratio is from 1 in either direction."""
    return abs(math.log(item.ratio.value)) if item.ratio and item.ratio.value > 0 else 0.0
