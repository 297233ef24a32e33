"""A value that is made at its first use, once in each process, and dropped on request."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerProcess(Generic[T]):
    """Holds what must not be shared with a forked child: threads, and memory they work on.

    Takes no lock: one held by another thread at a fork would never be free again in the child.
    Two threads that come first at once may make two values; both get the same one.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._values: dict[int, T] = {}

    def get(self) -> T:
        """Return this process's value."""
        pid = os.getpid()
        value = self._values.get(pid)
        if value is None:
            value = self._values.setdefault(pid, self._make())
            self._forget_others(pid)
        return value

    def peek(self) -> T | None:
        """Return this process's value if it has been made."""
        return self._values.get(os.getpid())

    def release(self) -> T | None:
        """Drop and return the value; whoever still uses it keeps it alive."""
        return self._values.pop(os.getpid(), None)

    def _forget_others(self, pid: int) -> None:
        for other in list(self._values):
            if other != pid:
                self._values.pop(other, None)
