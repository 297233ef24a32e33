"""The stamps of parallel writes, and the numbers they come down to: makespan, mean, parts."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from bench_core.errors import SaveError

STAMPS: Final = (
    "spawn",
    "started",
    "imported",
    "context",
    "built",
    "begin",
    "return",
    "durable",
)
"""The boundaries of a task, in order; `TaskTimes.phases` are the times between them."""

_PHASES: Final = ("spawn", "import", "context", "build", "barrier", "write", "flush")


@dataclass(frozen=True)
class TaskTimes:
    """One task of a parallel write: what it did and when, or why it failed."""

    task: int
    setup: str
    """``included`` or ``excluded``: whether the start is the spawn, or after the barrier."""
    status: str
    """``ok`` or ``failed``."""
    reason: str | None
    """Why it failed, in one line."""
    device: str
    stamps: Mapping[str, int] = field(default_factory=dict)
    """Boundary to `time.perf_counter_ns`, comparable between the processes of a host."""
    bytes_logical: int = 0
    bytes_physical: int = 0

    @property
    def phases(self) -> dict[str, float]:
        """Seconds between neighbouring boundaries, as far as the task came."""
        pairs = itertools.pairwise(STAMPS)
        return {
            phase: (self.stamps[end] - self.stamps[start]) / 1e9
            for phase, (start, end) in zip(_PHASES, pairs, strict=True)
            if end in self.stamps
        }

    @property
    def seconds(self) -> float:
        """From begin to durable: the task's own duration, without set-up."""
        return (self.stamps["durable"] - self.stamps["begin"]) / 1e9


@dataclass(frozen=True)
class WallclockSummary:
    """A parallel write in numbers, over the tasks that succeeded."""

    makespan_seconds: float
    """From the first start to the last durable; starts are spawns where set-up is included."""
    mean_task_seconds: float
    """Mean of the tasks' own times from begin to durable."""
    bytes_logical: int
    n_ok: int
    n_failed: int

    @property
    def bytes_per_second(self) -> float:
        """Aggregate throughput: all tasks' bytes over the makespan, not over the mean."""
        return self.bytes_logical / self.makespan_seconds


@dataclass(frozen=True)
class Decomposition:
    """What a write with set-up is made of, from three runs that differ in one step each."""

    total_seconds: float
    """Makespan with set-up."""
    setup_seconds: float
    """With set-up minus without."""
    storage_seconds: float
    """Without set-up minus to memory."""
    host_copy_seconds: float
    """To memory."""
    stamped_setup_seconds: float
    """Set-up as the first run's own stamps show it: first spawn to last begin."""

    @property
    def explained_share(self) -> float:
        """Stamped set-up, storage and host copy as a share of the total: 1 where runs repeat."""
        parts = self.stamped_setup_seconds + self.storage_seconds + self.host_copy_seconds
        return parts / self.total_seconds


def summarise(rows: Sequence[TaskTimes]) -> WallclockSummary:
    """Return makespan, mean task time and counts of one `write_wallclock`.

    Raises:
        SaveError: no task succeeded.
    """
    fine = [row for row in rows if row.status == "ok"]
    if not fine:
        reasons = "; ".join(f"task {row.task}: {row.reason}" for row in rows)
        raise SaveError(f"none of {len(rows)} tasks succeeded ({reasons})")
    start = "spawn" if fine[0].setup == "included" else "begin"
    first = min(row.stamps[start] for row in fine)
    last = max(row.stamps["durable"] for row in fine)
    return WallclockSummary(
        makespan_seconds=(last - first) / 1e9,
        mean_task_seconds=statistics.fmean(row.seconds for row in fine),
        bytes_logical=sum(row.bytes_logical for row in fine),
        n_ok=len(fine),
        n_failed=len(rows) - len(fine),
    )


def decompose(
    included: Sequence[TaskTimes], excluded: Sequence[TaskTimes], memory: Sequence[TaskTimes]
) -> Decomposition:
    """Return the parts of a write, from a run with set-up, one without, and one to memory.

    A part can be negative: where the tensors are on the CPU already, a write to memory is a
    memcpy that a write to storage may not need.

    Raises:
        SaveError: a task of one of them failed, so that they do not compare.
    """
    failed = [row for rows in (included, excluded, memory) for row in rows if row.status != "ok"]
    if failed:
        raise SaveError(f"a failed task cannot be decomposed ({failed[0].reason})")
    total, without, copy = (
        summarise(rows).makespan_seconds for rows in (included, excluded, memory)
    )
    begin = max(row.stamps["begin"] for row in included)
    spawn = min(row.stamps["spawn"] for row in included)
    return Decomposition(
        total_seconds=total,
        setup_seconds=total - without,
        storage_seconds=without - copy,
        host_copy_seconds=copy,
        stamped_setup_seconds=(begin - spawn) / 1e9,
    )
