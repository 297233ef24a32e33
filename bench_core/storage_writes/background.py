"""What every writer in the background has: one thread, saves that are waited for, errors seen."""

from __future__ import annotations

import concurrent.futures
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from torch import nn

from bench_core.errors import SaveError
from bench_core.formats import Tensors, WriteResult
from bench_core.storage_writes.child import one_line

_Self = TypeVar("_Self", bound="BackgroundWriter")


@dataclass(frozen=True)
class AsyncTimes:
    """A save in the background that has ended well."""

    path: Path
    bytes_logical: int
    bytes_physical: int
    blocked_ns: int
    """How long the call kept its caller: waiting for staging memory, and the copy into it."""
    total_ns: int
    """From the call to the durability that was asked for."""


class PendingSave:
    """A save that may still be under way."""

    def __init__(self, future: Future[tuple[WriteResult, int]], started_ns: int) -> None:
        self._future = future
        self._started_ns = started_ns
        self.blocked_ns = time.perf_counter_ns() - started_ns
        """How long the call kept its caller."""
        self.is_seen = False
        """Whether `result` has given the outcome to somebody."""

    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self._future.done()

    def result(self, timeout: float | None = None) -> AsyncTimes:
        """Wait for the end and return the times.

        Raises:
            SaveError: the write failed, and a file that was at the path before is still there,
                unless the text says that the new one was written.
            UnsupportedError: a tensor or a name that the format cannot store.
            TimeoutError: it has not ended after ``timeout`` seconds; it goes on.
        """
        if not concurrent.futures.wait([self._future], timeout).done:
            raise TimeoutError(f"the save has not ended after {timeout} s; it goes on")
        self.is_seen = True
        written, ended_ns = self._future.result()
        return AsyncTimes(
            path=written.path,
            bytes_logical=written.bytes_logical,
            bytes_physical=written.bytes_physical,
            blocked_ns=self.blocked_ns,
            total_ns=ended_ns - self._started_ns,
        )

    def unseen_error(self) -> BaseException | None:
        """Return why it failed, if it has ended so and `result` has told nobody."""
        return self._future.exception() if self.done() and not self.is_seen else None


class BackgroundWriter(ABC):
    """Saves without keeping its caller; a context manager that waits for all saves at its end.

    An error that nobody has seen through `PendingSave.result` is raised by the next `save` or by
    `close`; of several saves that failed, one error names all. So no failed save stays unnoticed,
    but where a ``with`` block ends with an error of its own: that one is raised, and who wants to
    know more asks each save.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="save")
        self._pending: list[PendingSave] = []
        self._is_closed = False

    @abstractmethod
    def save(self, module_or_tensors: nn.Module | Tensors, path: Path | str) -> PendingSave:
        """Start to save the values of this moment.

        Raises:
            SaveError: earlier saves failed and nobody has seen it, or the writer is closed.
            UnsupportedError: something is not a dense tensor with data.
        """

    def close(self) -> None:
        """Wait for all saves, and free what the writer holds.

        Raises:
            SaveError: saves failed and nobody has seen it; all of them are named.
        """
        self._end()
        self._raise_unseen()

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._end()

    def _check(self) -> None:
        """Raise what keeps a new save from beginning."""
        if self._is_closed:
            raise SaveError("this writer is closed; make a new one")
        self._raise_unseen()

    def _start(self, write: Callable[[], WriteResult], started_ns: int) -> PendingSave:
        """Run ``write`` in the thread; the caller was blocked from ``started_ns`` until now."""
        future = self._thread.submit(lambda: (write(), time.perf_counter_ns()))
        pending = PendingSave(future, started_ns)
        self._pending.append(pending)
        return pending

    def _end(self) -> None:
        self._is_closed = True
        self._thread.shutdown(wait=True)

    def _raise_unseen(self) -> None:
        """Forget the saves that have ended, and raise what those that failed have to tell."""
        ended = [pending for pending in self._pending if pending.done()]
        self._pending = [pending for pending in self._pending if pending not in ended]
        errors = [error for pending in ended if (error := pending.unseen_error()) is not None]
        if len(errors) > 1:
            reasons = "; ".join(map(one_line, errors))
            raise SaveError(f"{len(errors)} saves failed: {reasons}") from errors[0]
        if errors:
            raise errors[0]
