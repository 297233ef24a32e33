"""How long samples take with all that is around them: learnt from records, to look ahead."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from harness.discovery import Case
from harness.experiments.plan import case_id
from harness.records import Param, Record

MOST_KEPT: Final = 50
"""Of one case; more would not make its median better."""
SLOW: Final = 3e8
"""Bytes per second: what seems slower, where samples of few bytes tell of many, is a fixed cost."""


@dataclass
class Pace:
    """Seconds from a sample's start to the next one's, by case and by benchmark.

    What is between two samples of one process (preparing, making cold, verifying) belongs to the
    first of them. The start of a cell's process, and the preparing of its first sample, are counted
    by the cell.
    """

    _cases: dict[str, list[float]] = field(default_factory=dict)
    _benchmarks: dict[str, list[tuple[float, int]]] = field(default_factory=dict)
    _starts: list[float] = field(default_factory=list)
    _open: dict[str, tuple[Record, datetime]] = field(default_factory=dict)
    _begun: dict[str, datetime] = field(default_factory=dict)

    def began(self, cell: str, at: str) -> None:
        """Hear that a process was started for a cell, at a time in ISO 8601."""
        self._open.pop(cell, None)
        self._begun[cell] = datetime.fromisoformat(at)

    def taken(self, record: Record, where: str = "") -> None:
        """Hear of a sample.

        Args:
            record: the sample; a later one of its cell and process tells how long it took.
            where: what stands for the cell in records that name none.
        """
        key = record.cell or where
        if not record.started_at:
            return
        now = datetime.fromisoformat(record.started_at)
        before = self._open.get(key)
        if before is not None and before[0].process == record.process:
            self._learn(before[0], (now - before[1]).total_seconds())
        elif key in self._begun:
            self._starts.append(max((now - self._begun.pop(key)).total_seconds(), 0.0))
        self._open[key] = record, now

    def ended(self, cell: str, at: str) -> None:
        """Hear that a cell has ended."""
        before = self._open.pop(cell, None)
        if before is not None:
            self._learn(before[0], (datetime.fromisoformat(at) - before[1]).total_seconds())

    @property
    def samples(self) -> int:
        """How many samples it has learnt from."""
        return sum(map(len, self._cases.values()))

    def knows(self, case: Case) -> bool:
        """Tell whether samples of this very case were heard of."""
        return case.id in self._cases

    def seconds_of(self, case: Case) -> float | None:
        """Return what a sample of a case is expected to take; None if nothing like it is known.

        What the case took before; else what its benchmark took, by the bytes where both are known.
        """
        own = self._cases.get(case.id)
        if own:
            return statistics.median(own)
        known = self._benchmarks.get(case.benchmark)
        if not known:
            return None
        nbytes = planned_bytes(case)
        sizes = {size for _, size in known if size}
        if not nbytes or not sizes:
            return statistics.median(seconds for seconds, _ in known)
        near = min(sizes, key=lambda size: abs(math.log(nbytes / size)))
        seconds = statistics.median(seconds for seconds, size in known if size == near)
        # A sample has fixed costs, which neither grow nor shrink with its bytes.
        if nbytes < near:
            return max(seconds * nbytes / near, min(seconds for seconds, _ in known))
        return seconds + min(seconds * (nbytes / near - 1), (nbytes - near) / SLOW)

    def total(self, cases: Iterable[Case], cells: int = 0) -> tuple[float | None, int]:
        """Return the expected seconds of samples and the starts of cells, and how many are unknown.

        An unknown sample counts as the mean of the known ones; with none known the time is None.
        """
        found = [self.seconds_of(case) for case in cases]
        known = [seconds for seconds in found if seconds is not None]
        unknown = len(found) - len(known)
        if not known:
            return (0.0 if not found else None), unknown
        starts = cells * statistics.median(self._starts) if self._starts else 0.0
        return sum(known) + unknown * statistics.fmean(known) + starts, unknown

    def _learn(self, record: Record, seconds: float) -> None:
        if seconds < 0:  # the host's clock was set back
            return
        taken = self._cases.setdefault(case_id(record), [])
        if len(taken) < MOST_KEPT:
            taken.append(seconds)
            known = self._benchmarks.setdefault(record.benchmark, [])
            known.append((seconds, record.bytes or 0))


def planned_bytes(case: Case) -> int | None:
    """Return the bytes that one sample of a case will have to move, if its class can tell."""
    params: dict[str, Param] = dict(case.params)
    return case.cls.planned_bytes(**params)
