"""Several threads doing one timed piece of work together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """What a crew did: how much (bytes, operations) in how many seconds."""

    amount: int
    seconds: float

    @property
    def rate(self) -> float:
        """Amount per second."""
        return self.amount / self.seconds


def together(size: int, work: Callable[[int], int]) -> Effort:
    """Run ``work(i)`` for i in range(size), one thread each, and add up what they return.

    Threads start at a barrier, so that starting them is not timed: the seconds reach from the
    first one's begin to the last one's end. The first error of a thread is raised here.
    """
    if size == 1:
        begin = time.perf_counter_ns()
        amount = work(0)
        return Effort(amount, (time.perf_counter_ns() - begin) * 1e-9)
    barrier = threading.Barrier(size)
    shifts: list[tuple[int, int, int]] = []
    errors: list[BaseException] = []

    def shift(index: int) -> None:
        barrier.wait()
        begin = time.perf_counter_ns()
        try:
            amount = work(index)
        except BaseException as error:  # raised again by the caller's thread
            errors.append(error)
            return
        shifts.append((begin, time.perf_counter_ns(), amount))

    threads = [threading.Thread(target=shift, args=(index,)) for index in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    begins, ends, amounts = zip(*shifts, strict=True)
    return Effort(sum(amounts), (max(ends) - min(begins)) * 1e-9)
