"""Writes from fresh processes at once: where the time of a whole save goes, and who shares it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from benchmarks.storage_writes import durable_seconds
from benchmarks.support.common import ModelBenchmark, process_folder, tensor_bytes
from harness.errors import WrongResultError
from harness.records import Param

if TYPE_CHECKING:
    from bench_core.storage_writes import TaskTimes
    from harness.limits import Limits

_HOW: Final[dict[str, dict[str, Any]]] = {
    "set_up_included": {"setup": "included", "sync": "end"},
    "set_up_excluded": {"setup": "excluded", "sync": "each_task"},
    "to_memory": {"setup": "excluded", "sync": "each_task", "target": "memory"},
}


class ParallelWrite(ModelBenchmark):
    """Base of writes by processes that are spawned for one sample and compare what they wrote."""

    unit = "seconds"
    repeat = 3
    quick: ClassVar[Mapping[str, Sequence[Param]] | None] = None
    rows: Sequence[TaskTimes]

    @classmethod
    def planned_bytes(cls, **params: Param) -> int:
        """Return the bytes of the models of all processes."""
        return int(params["processes"]) * sum(tensor_bytes(str(params["model"])).values())

    def needed_bytes(self) -> int:
        return sum(row.bytes_logical for row in self.rows)

    def verify(self) -> None:
        failed = [row for row in self.rows if row.status != "ok"]
        if failed:
            raise WrongResultError(f"task {failed[0].task}: {failed[0].reason}")
        self.note(phases=_mean_phases(self.rows), task_seconds=[row.seconds for row in self.rows])


class Wallclock(ParallelWrite):
    """The makespan of a parallel save: from the first start to the last task's durable bytes.

    ``set_up_included``: a start is the spawn of the process; import, device, building the model and
    one flush at the end are inside. ``set_up_excluded``: a start is a barrier after all that; each
    task makes its own file durable. ``to_memory``: the same without storage. Set-up is the first
    minus the second, storage the second minus the third. Ideal: the bytes of all tasks at the
    bandwidth of a durable write, and in memory at that of a copy.
    """

    params = (tuple(_HOW), ("direct", "torch"), (1, 2), ("stack_8x1MiB",))
    param_names = ("variant", "format", "processes", "model")
    quick = {"variant": tuple(_HOW)}

    def prepare(self, variant: str, format: str, processes: int, model: str) -> None:
        from bench_core.storage_writes import summarise, write_wallclock

        self.write_wallclock, self.summarise = write_wallclock, summarise
        self.is_to_memory = variant == "to_memory"

    def track_makespan(self, variant: str, format: str, processes: int, model: str) -> float:
        self.rows = self.write_wallclock(
            model=model,
            directory=process_folder(),
            format=format,
            n_procs=processes,
            timeout=self.timeout,
            **_HOW[variant],
        )
        return self.summarise(self.rows).makespan_seconds

    def ideal_seconds(self, limits: Limits) -> float | None:
        nbytes = self.needed_bytes()
        if self.is_to_memory:
            return limits.seconds("memcpy_all_threads", nbytes)
        return durable_seconds(limits, nbytes)


class ConcurrentWriters(ParallelWrite):
    """The makespan of processes that write files of their own from a common start, until durable.

    Set-up is outside. ``fairness`` is the slowest task's time over the fastest's. Ideal: the bytes
    of all tasks at the bandwidth of a durable write.
    """

    params = (("direct", "torch", "safetensors"), (1, 2, 4), ("stack_8x1MiB",))
    param_names = ("format", "processes", "model")

    def prepare(self, format: str, processes: int, model: str) -> None:
        from bench_core.storage_writes import write_concurrently

        self.write_concurrently = write_concurrently

    def track_makespan(self, format: str, processes: int, model: str) -> float:
        written = self.write_concurrently(
            processes, model=model, directory=process_folder(), format=format, timeout=self.timeout
        )
        self.rows = written.rows
        self.note(fairness=written.fairness)
        return written.summary.makespan_seconds

    def ideal_seconds(self, limits: Limits) -> float | None:
        return durable_seconds(limits, self.needed_bytes())


def _mean_phases(rows: Sequence[TaskTimes]) -> dict[str, float]:
    """Return the mean over the tasks of each phase that lies after the start of the makespan."""
    phases = [row.phases for row in rows]
    names = list(phases[0])
    if rows[0].setup == "excluded":
        names = [name for name in names if name in ("write", "flush")]
    return {name: statistics.fmean(found[name] for found in phases) for name in names}
