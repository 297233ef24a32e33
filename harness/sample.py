"""What is known of one sample while it runs, and how a benchmark method is made to remember it."""

from __future__ import annotations

import functools
import gc
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final, TypeVar

from harness import cache, counters
from harness.errors import InputError, UnprovedError, WrongResultError
from harness.records import Param

T = TypeVar("T")

LONG_COLLECTION: Final = 0.005
"""Seconds after which a garbage collection is worth avoiding the next time."""

if TYPE_CHECKING:
    from harness.benchmark import Benchmark


_NOT_COUNTED: Final = counters.Counters()


def now() -> str:
    """Return the time of day in UTC, ISO 8601 with milliseconds."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


@dataclass
class Sample:
    """A sample between `Benchmark.setup` and `Benchmark.teardown`."""

    params: dict[str, Param]
    started_at: str = field(default_factory=now)
    before: counters.Counters = _NOT_COUNTED
    cache: cache.CacheBefore | None = None
    finished: bool = False
    """Whether the timed method was run to its end, or to its error."""
    error: BaseException | None = None
    """What it raised."""
    notes: dict[str, Any] = field(default_factory=dict)


def collect_garbage() -> None:
    """Collect what earlier samples left behind, without looking at all that is loaded each time.

    A full collection with torch loaded takes some 70 ms, more than many operations. When one takes
    long, what exists is frozen: later collections pass it by (it is still freed when its last
    reference goes). Inputs made anew for each sample are not frozen, so cycles in them are found.
    """
    began = time.perf_counter()
    gc.collect()
    if time.perf_counter() - began > LONG_COLLECTION:
        gc.freeze()


def named(names: Sequence[str], values: Sequence[T]) -> dict[str, T]:
    """Return parameter name to value; the ones without a name are called as asv calls them.

    Raises:
        InputError: there are more names than values.
    """
    if len(names) > len(values):
        raise InputError(f"{len(values)} parameters were given, expected {', '.join(names)}")
    unnamed = [f"param{position + 1}" for position in range(len(names), len(values))]
    return dict(zip([*names, *unnamed], values, strict=True))


def asked_for(class_name: str, methods: Iterable[str]) -> str:
    """Return the method that this process is to run, as far as it can be known before it runs.

    It is needed for a case that is refused in ``setup``, to which asv does not tell the method: a
    process of asv has ``module.Class.method-3`` among its arguments (with ``spawn``).
    """
    known = list(methods)
    if len(known) == 1:
        return known[0]
    asked = [
        method
        for method in known
        for word in sys.argv
        if word.partition("-")[0].endswith(f".{class_name}.{method}")
    ]
    return asked[0] if asked else ""


def remembered(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a benchmark method so that its instance knows which one ran and what came of it.

    asv does not tell ``setup`` and ``teardown`` which method is timed. Keeping the result also
    keeps its release (unmapping a loaded model takes milliseconds) out of the clock; a ``time_``
    method returns None for the same reason. The wrapper costs some 0.2 µs inside the clock.
    """
    is_time = name.startswith("time_")

    @functools.wraps(function)
    def operation(self: Benchmark, *params: Any) -> Any:
        self.method = name
        try:
            result = function(self, *params)
        except BaseException as error:
            self.ended(None, error)
            raise
        self.ended(result)
        return None if is_time else result

    operation._remembered = True  # type: ignore[attr-defined]
    return operation


def require_finite(value: float) -> None:
    """Raise where a ``track_`` method found no number that records, averages and figures can hold.

    Raises:
        WrongResultError: it is NaN or infinite.
    """
    if not math.isfinite(value):
        raise WrongResultError(f"the result is {value}, a finite number expected")


def proof(
    sample: Sample, counted: Mapping[str, float], needed_bytes: int | None
) -> dict[str, Any] | None:
    """Return the record's ``cache`` for a finished sample, or None if no file matters to it."""
    if sample.cache is None:
        return None
    read_bytes = counted.get("read_bytes")
    read = None if read_bytes is None else int(read_bytes)
    return cache.prove(sample.cache, read, needed_bytes).as_dict()


def require_proof(proof: Mapping[str, Any] | None) -> None:
    """Raise `UnprovedError` for a proof that failed."""
    if proof is not None and not proof["proved"]:
        raise UnprovedError(f"{proof['state']} is not proved: {proof.get('reason')}")


def one_line(error: BaseException) -> str:
    """Return an error as one line that names its type where the text alone would not."""
    text = " ".join(str(error).split())
    return (
        text
        if type(error).__module__.startswith(("harness", "bench_core")) and text
        else (f"{type(error).__name__}: {text}" if text else type(error).__name__)
    )


def reasons(first: str | None, left: BaseException | None) -> str | None:
    """Return why a sample failed, if it did, and why it was not cleaned up, if that failed too."""
    known = [first, None if left is None else f"clean-up: {one_line(left)}"]
    return "; ".join(reason for reason in known if reason) or None
