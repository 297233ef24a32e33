"""Draws many figures at once, in processes: most of a report's time goes into its figures."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Final

FEWEST: Final = 8
"""Figures from which processes save more time than they take to start."""
MOST_PROCESSES: Final = 4
"""Each takes about 200 MB of memory."""

Task = Callable[[], None]


def draw_all(tasks: Sequence[Task], processes: int) -> None:
    """Run tasks that each draw and write a figure.

    Args:
        tasks: they must be picklable: `functools.partial` of a function of a module.
        processes: how many to use; 1 for none beside this one.
    """
    if processes < 2 or len(tasks) < FEWEST:
        for task in tasks:
            task()
        return
    # Not fork: this process may have threads. So the caller's main module must be importable.
    context = get_context("spawn")
    workers = min(processes, MOST_PROCESSES)
    with ProcessPoolExecutor(workers, context, initializer=_ignore_interrupt) as pool:
        try:
            for future in [pool.submit(task) for task in tasks]:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _ignore_interrupt() -> None:
    """Leave Ctrl-C to the process that waits for this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
