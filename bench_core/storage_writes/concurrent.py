"""Several processes writing their own files at once: makespan, aggregate throughput, fairness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench_core.formats import Durability
from bench_core.storage_writes.task_times import TaskTimes, WallclockSummary, summarise
from bench_core.storage_writes.wallclock import write_wallclock


@dataclass(frozen=True)
class ConcurrentWrite:
    """What ``n_procs`` writers achieved together."""

    n_procs: int
    summary: WallclockSummary
    """Its throughput is the aggregate: all bytes over the makespan."""
    fairness: float
    """The slowest task's time over the fastest's: 1 where all got the same share."""
    rows: Sequence[TaskTimes]


def write_concurrently(
    n_procs: int,
    *,
    model: str,
    directory: Path,
    format: str = "direct",
    durability: Durability | str = Durability.FSYNC_DIR,
    device: str = "auto",
    timeout: float = 300.0,
) -> ConcurrentWrite:
    """Let ``n_procs`` processes write the same model to files of their own, from a common start.

    Set-up is excluded and each task makes its own file durable; the arguments are those of
    `write_wallclock`.

    Raises:
        SaveError: no task succeeded; rows of single failures are in the result.
    """
    rows = write_wallclock(
        model=model,
        directory=directory,
        setup="excluded",
        sync="each_task",
        n_procs=n_procs,
        format=format,
        durability=durability,
        device=device,
        timeout=timeout,
    )
    summary = summarise(rows)
    seconds = [row.seconds for row in rows if row.status == "ok"]
    return ConcurrentWrite(n_procs, summary, max(seconds) / min(seconds), rows)
