"""What the samples of a process share: the data folder, inputs kept in memory, the limits."""

from __future__ import annotations

import functools
import os
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from harness.limits import Limits

T = TypeVar("T")

MEMO_ENTRIES: Final = 8
"""Inputs kept in one process; the least recently used one goes first."""

_memo: OrderedDict[Hashable, Any] = OrderedDict()


def data_dir() -> Path:
    """Return the folder for cached models, files to load and write scratch; it is made.

    ``BENCH_CORE_DATA`` names it; otherwise it is ``bench-core`` below the user's cache folder.
    """
    named = os.environ.get("BENCH_CORE_DATA")
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(named).expanduser() if named else caches / "bench-core"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def memoised(key: Hashable, make: Callable[[], T]) -> T:
    """Return ``make()``, made once a process for each key; at most `MEMO_ENTRIES` are kept."""
    if key in _memo:
        _memo.move_to_end(key)
    else:
        while len(_memo) >= MEMO_ENTRIES:
            _memo.popitem(last=False)
        _memo[key] = make()
    value: T = _memo[key]
    return value


def limits_of_environment() -> Limits | None:
    """Return the limits in the file that ``BENCH_CORE_LIMITS`` names, if it is set."""
    path = os.environ.get("BENCH_CORE_LIMITS")
    return _read_limits(path) if path else None


@functools.cache
def _read_limits(path: str) -> Limits:
    from harness.limits import load

    return load(Path(path))
