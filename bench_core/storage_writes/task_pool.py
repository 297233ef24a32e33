"""Tasks run at once in fresh processes: a barrier that breaks rather than waits for the dead."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from bench_core.errors import SaveError
from bench_core.storage_writes.child import Child, one_line
from bench_core.storage_writes.task import TaskRequest

_MODULE: Final = "bench_core.storage_writes.task"


@dataclass
class Outcome:
    """What is known of one task so far."""

    reason: str | None = None
    """Why it failed; None as long as it has not."""
    stamps: dict[str, int] = field(default_factory=dict)
    bytes_logical: int = 0
    bytes_physical: int = 0


def run_tasks(
    requests: Sequence[TaskRequest],
    *,
    at_barrier: bool,
    flush: Callable[[], None] | None,
    timeout: float,
) -> list[Outcome]:
    """Run one process per request, verify what they wrote, and return how each fared.

    Args:
        requests: one per task.
        at_barrier: let every task write only when all are set up. If one of them fails before,
            all others fail with it.
        flush: makes the files of all tasks durable, after the last has returned; None where the
            tasks do so themselves.
        timeout: seconds after which a process that has not finished is killed.
    """
    pool = _Pool(requests, at_barrier, timeout)
    with ThreadPoolExecutor(len(requests)) as threads:
        try:
            list(threads.map(pool.write, range(len(requests))))
            if flush is not None:
                pool.flush(flush)
            list(threads.map(pool.verify, range(len(requests))))
        except BaseException:
            pool.kill()
            raise
        finally:
            pool.close()
    return pool.outcomes


class _Pool:
    def __init__(self, requests: Sequence[TaskRequest], at_barrier: bool, timeout: float):
        self.outcomes = [Outcome() for _ in requests]
        self._requests = requests
        self._timeout = timeout
        self._barrier = threading.Barrier(len(requests), timeout=timeout) if at_barrier else None
        self._children: dict[int, Child] = {}

    def write(self, task: int) -> None:
        """Start the task's process and see it through set-up and write."""
        outcome = self.outcomes[task]
        try:
            child = self._children[task] = Child(_MODULE, timeout=self._timeout)
            outcome.stamps["spawn"] = child.spawn_ns
            child.send(dataclasses.asdict(self._requests[task]))
            outcome.stamps |= child.receive()["stamps"]
            if self._barrier is not None:
                self._barrier.wait()
            child.send({})
            written = child.receive()
        except threading.BrokenBarrierError:
            outcome.reason = "the barrier broke: another task failed before it"
            child.kill()
        except OSError as error:  # a `SaveError` of the child, or no process could be made
            outcome.reason = one_line(error)
            if self._barrier is not None:
                self._barrier.abort()
        else:
            outcome.stamps |= written["stamps"]
            outcome.bytes_logical = written["bytes_logical"]
            outcome.bytes_physical = written["bytes_physical"]

    def flush(self, flush: Callable[[], None]) -> None:
        """Make all files durable; every task is so only when the last file is."""
        flush()
        durable = time.perf_counter_ns()
        for outcome in self.outcomes:
            if outcome.reason is None:
                outcome.stamps["durable"] = durable

    def verify(self, task: int) -> None:
        """Let the process read back what it wrote."""
        outcome = self.outcomes[task]
        if outcome.reason is not None:
            return
        child = self._children[task]
        try:
            child.send({})
            wrong = child.receive()["wrong"]
        except SaveError as error:
            outcome.reason = f"not verified: {error}"
            return
        if wrong:
            outcome.reason = f"{len(wrong)} tensors read back differ, the first is {wrong[0]!r}"

    def kill(self) -> None:
        """End every process, and every thread that waits for one."""
        if self._barrier is not None:
            self._barrier.abort()
        for child in list(self._children.values()):
            child.kill()

    def close(self) -> None:
        """Wait for every process to end."""
        for child in self._children.values():
            child.close()
