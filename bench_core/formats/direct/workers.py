"""The threads that keep several requests in flight, kept between calls.

Why threads and not io_uring: requests of up to 2 MiB are fastest in the calling thread, and on one
cold layer of 4 to 32 MiB io_uring (liburing 2026.3.30) was between 3 % slower and 3 % faster than
threads (Linux 6.18, virtio, 2 cores, medians of 30 interleaved rounds). No dependency for that.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Final, TypeVar

from bench_core.formats.direct.per_process import PerProcess

T = TypeVar("T")

DEPTH: Final = 8
"""Requests in flight at most, the caller's own included."""

ALONE_BYTES: Final = 16 << 20
"""Copies within memory up to this long are fastest in the calling thread."""

_NAMES: Final = "bench-core-io"
_pool = PerProcess(lambda: ThreadPoolExecutor(DEPTH - 1, thread_name_prefix=_NAMES))


def depth_for_copies(nbytes: int) -> int:
    """Return how many threads to copy ``nbytes`` of memory with: waking others costs some too."""
    return 1 if nbytes <= ALONE_BYTES else DEPTH


def thread_ids() -> list[int]:
    """Return the kernel's ids of the threads that help, those that there are by now."""
    helpers = [thread for thread in threading.enumerate() if thread.name.startswith(_NAMES)]
    return [thread.native_id for thread in helpers if thread.native_id is not None]


def run(jobs: Iterable[T], work: Callable[[T], None], depth: int = DEPTH) -> None:
    """Call ``work`` on every job, up to ``depth`` at a time, in the caller's thread too.

    Jobs start in their order. Returns when no call runs any more, also after an exception: then
    jobs not yet started are dropped, and the exception of the caller's own job, else the first
    one found, is raised.
    """
    pending = deque(jobs)

    def drain() -> None:
        try:
            while True:
                try:
                    job = pending.popleft()
                except IndexError:
                    return
                work(job)
        finally:
            pending.clear()

    helpers: list[Future[None]] = []
    try:
        _start(drain, min(depth, len(pending)) - 1, helpers)
        drain()
    finally:
        pending.clear()
        _finish(helpers)
    for helper in helpers:
        if not helper.cancelled():
            helper.result()


def release() -> None:
    """Let the threads end once they are idle; the next call of `run` starts new ones."""
    pool = _pool.release()
    if pool is not None:
        pool.shutdown(wait=False)


def _start(drain: Callable[[], None], count: int, helpers: list[Future[None]]) -> None:
    for _ in range(count):
        try:
            helpers.append(_pool.get().submit(drain))
        except RuntimeError:
            # Released a moment ago, or the interpreter is ending: the caller works alone.
            return


def _finish(helpers: list[Future[None]]) -> None:
    """Wait for the helpers, whatever interrupts: they use memory and files the caller will free."""
    running = [helper for helper in helpers if not helper.cancel()]
    interrupted: KeyboardInterrupt | None = None
    while running:
        try:
            running = list(wait(running).not_done)
        except KeyboardInterrupt as error:
            interrupted = error
    if interrupted is not None:
        raise interrupted
