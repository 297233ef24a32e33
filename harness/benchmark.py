"""The base of all benchmark classes: one sample, its proof and its record, under any runner.

asv, the pytest plugin and the experiment runner do the same five things with an instance:
``setup(*params)``, read ``timer``, call the method, read ``timer``, ``teardown(*params)``. What a
sample is stands here, once; a workload says what to build, what to time and how to check it.
"""

from __future__ import annotations

import gc
import inspect
import logging
import os
import re
import sys
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from harness import cache, counters
from harness.clock import StampClock
from harness.errors import HarnessError, RefusedError, UnprovedError
from harness.inputs import data_dir, limits_of_environment, memoised
from harness.records import Param, Record, append_record
from harness.sample import (
    Sample,
    asked_for,
    collect_garbage,
    named,
    one_line,
    proof,
    reasons,
    remembered,
    require_finite,
    require_proof,
)

if TYPE_CHECKING:
    from harness.limits import Limits

T = TypeVar("T")

__all__ = ["OPERATION", "Benchmark", "data_dir"]

LOGGER: Final = logging.getLogger(__name__)
OPERATION: Final = re.compile(r"(time|track)_.+")
"""The methods that every runner can run; asv's other kinds mean nothing to pytest."""


class Benchmark:
    """Base class of every workload: subclass it, state ``params``, write ``time_`` methods.

    One sample is: `prepare`, garbage collected, cache state made, counters, device sync, clock,
    the method, device sync, clock, counters, `verify`, cold proved, `clean`. Every sample leaves a
    record, whatever its status, in `records` and in the file that ``BENCH_CORE_SAMPLES`` names. A
    sample with a wrong answer, one that is not proved cold, or one that is not cleaned up then
    raises: asv and pytest count the case as failed, and no average ever contains it.

    What a method returns is kept in `result` until the sample is over, so that freeing it is never
    inside the clock. A ``track_`` method returns one finite number, in `unit`.

    Example:
        >>> class Sum(Benchmark):
        ...     params = ((10, 1000),)
        ...     param_names = ("size",)
        ...
        ...     def prepare(self, size):
        ...         self.numbers = list(range(size))
        ...
        ...     def time_sum(self, size):
        ...         return sum(self.numbers)
        >>> Sum().sample("time_sum", 10).status
        'ok'
    """

    # asv's attributes. With number = 1 and no warm-up it calls setup before every sample.
    number: ClassVar[int] = 1
    repeat: ClassVar[int] = 6
    rounds: ClassVar[int] = 2
    warmup_time: ClassVar[float] = 0.0
    timeout: ClassVar[float] = 300
    version: ClassVar[str] = "1"
    """Raised by hand when what is measured changes; asv then starts a new series."""
    unit: ClassVar[str] = "unit"
    """The unit of what ``track_`` methods return."""
    params: ClassVar[Sequence[Any]] = ()
    """One sequence of values a parameter; the runners take their product, in this order."""
    param_names: ClassVar[Sequence[str]] = ()
    quick: ClassVar[Mapping[str, Sequence[Param]] | None] = {}
    """Parameter name to its values in the quick form. A parameter that is not named keeps its
    first value; None keeps the class out of the quick form."""
    open_params: ClassVar[Sequence[str]] = ()
    """Parameters that an experiment may give names that do not stand in ``params``; numbers are
    free in any case."""

    def __init__(self) -> None:
        self.timer = StampClock()
        self.runner = "asv"
        self.round = 0
        """Set by a runner that interleaves; otherwise the number of samples already taken."""
        self.seed = 0
        """Of the inputs; set by a runner that varies them."""
        self.method = asked_for(type(self).__name__, filter(OPERATION.fullmatch, dir(self)))
        self.result: Any = None
        self.limits: Limits | None = None
        self.records: list[Record] = []
        self._sample: Sample | None = None
        self._collects = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in filter(OPERATION.fullmatch, dir(cls)):
            function = inspect.getattr_static(cls, name)
            if inspect.isfunction(function) and not hasattr(function, "_remembered"):
                setattr(cls, name, remembered(name, function))

    # What a workload may define.

    @classmethod
    def check_param(cls, name: str, value: Param) -> None:
        """Raise `InputError` where an open parameter's value, from an experiment, means nothing."""

    def prepare(self, *params: Any) -> None:
        """Build the inputs; not timed. Raise `RefusedError` where the case means nothing."""

    @classmethod
    def planned_bytes(cls, **params: Param) -> int | None:
        """Return what `needed_bytes` will be, before anything is built; None if that is unknown."""
        return None

    def files(self) -> Sequence[Path]:
        """Return the files whose cache state matters to this sample."""
        return ()

    def cache_state(self, **params: Any) -> str:
        """Return the cache state the sample starts in; by default its parameter ``cache``."""
        return str(params.get("cache", cache.CacheState.WARM.value))

    def needed_bytes(self) -> int | None:
        """Return the bytes that the operation has to move, or None if that means nothing."""
        return None

    def ideal_seconds(self, limits: Limits) -> float | None:
        """Return what the machine's limits allow: the slowest of the stages that can overlap."""
        return None

    def verify(self) -> None:
        """Check the answer, after the clock; raise `WrongResultError` when it is wrong."""

    def clean(self) -> None:
        """Remove what the sample left behind; called after every sample, failed ones too.

        What it raises makes a failed sample: what is left behind may disturb those that follow.
        """

    # What a workload may call.

    def note(self, **facts: Any) -> None:
        """Add facts to this sample's record: ``return_seconds`` to its field, others to extra."""
        if self._sample is not None:
            self._sample.notes.update(facts)

    def cached(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return ``make()``, made once a process for each key, whichever class asks for it.

        At most `harness.inputs.MEMO_ENTRIES` values are kept.
        """
        return memoised(key, make)

    # What a runner calls.

    @property
    def last_record(self) -> Record | None:
        """The record of the sample that ended last."""
        return self.records[-1] if self.records else None

    def setup(self, *params: Any) -> None:
        """Prepare one sample, up to the moment before the clock starts.

        Raises:
            RefusedError: the case means nothing here, or a library that it needs is not
                installed; asv and pytest skip it.
        """
        sample = self._sample = Sample(named(self.param_names, params))
        self.timer.clear()
        try:
            self.prepare(*params)
            collect_garbage()
            sample.cache = self._make_cache_state(sample.params)
            counters.reset_peaks()
            sample.before = counters.snapshot(peaks=False)
        except BaseException as error:
            self._give_up(sample, error)
            raise
        self._collects = gc.isenabled()
        gc.disable()

    def ended(self, result: Any, error: BaseException | None = None) -> None:
        """Remember how the timed method ended; its wrapper calls this."""
        self.result = result
        if self._sample is not None:
            self._sample.finished, self._sample.error = True, error

    def teardown(self, *params: Any) -> None:
        """Close the sample: counters, verification, proof, clean-up, record.

        Does nothing when `setup` did not finish or the sample is already closed: asv calls it
        then, too.

        Raises:
            WrongResultError: the answer is wrong, or no finite number.
            UnprovedError: the cache state that was asked for is not proved.
            Exception: what `verify` or `clean` raised.
        """
        after = counters.snapshot()
        if self._sample is None:
            return
        if self._collects:
            gc.enable()
        sample = self._sample
        try:
            record, error = self._close(sample, after)
        finally:
            self._sample = self.result = None
        self._keep(record)
        # What is already on its way, Ctrl-C above all, must not be hidden.
        if error is not None and error is not sample.error and sys.exc_info()[0] is None:
            raise error

    def sample(self, method: str, *params: Any) -> Record:
        """Take one sample by itself and return its record; what fails is a record, no error."""
        self.runner, self.method = "run", method
        operation = getattr(self, method)
        taken = len(self.records)
        try:
            self.setup(*params)
            try:
                self.timer()
                operation(*params)
                self.timer()
            finally:
                self.teardown(*params)
        except Exception:
            # Every way to fail leaves its record; without one the fault lies in this module.
            if len(self.records) == taken:
                raise
        return self.records[-1]

    # How a sample is made.

    def _make_cache_state(self, params: Mapping[str, Param]) -> cache.CacheBefore | None:
        files = self.files()
        if not files and "cache" not in params:
            return None
        return cache.prepare(files, self.cache_state(**params))

    def _give_up(self, sample: Sample, error: BaseException) -> None:
        """Record a set-up that did not finish, and raise `RefusedError` if it was refused."""
        refused = isinstance(error, NotImplementedError | ImportError)
        LOGGER.debug("set-up of %s%s", self.method, tuple(sample.params.values()), exc_info=error)
        reason = one_line(error) if refused else f"set-up: {one_line(error)}"
        began = any(record.status != "skipped" for record in self.records)
        left = self._clean_up(sample)
        status = "skipped" if refused and left is None else "failed"
        self._keep(self._record(sample, status=status, reason=reasons(reason, left)))
        self._sample = None
        if refused and left is not None:
            raise left from error
        if refused and began:
            # asv would go on and time the statement, unprepared, if a later set-up was refused.
            raise HarnessError(f"refused after some samples: {reason}") from error
        if refused:
            raise RefusedError(reason) from error

    def _close(
        self, sample: Sample, after: counters.Counters
    ) -> tuple[Record, BaseException | None]:
        """Verify, prove and clean; return the record and what went wrong first, if anything."""
        facts: dict[str, Any] = {"counters": counters.difference(sample.before, after)}
        error = sample.error
        try:
            if error is None:
                facts |= self._measured(sample, facts["counters"])
                self.verify()
                # After what the workload itself has to say of it.
                require_finite(facts["value"])
                require_proof(facts["cache"])
        except Exception as raised:
            error = raised
        finally:
            left = self._clean_up(sample)
        if error is not None:
            LOGGER.debug("%s%s", self.method, tuple(sample.params.values()), exc_info=error)
        if error is not None or left is not None:
            unproved = isinstance(error, UnprovedError)
            reason = reasons(None if error is None else one_line(error), left)
            facts |= {"status": "unproved" if unproved else "failed", "reason": reason}
            # A wrong answer has no speed.
            facts["value"] = facts.get("value") if unproved else None
        return self._record(sample, **facts), left if error is None else error

    def _clean_up(self, sample: Sample) -> Exception | None:
        """Clean; return what that raised, as it must hide neither the record nor an interrupt."""
        try:
            self.clean()
        except Exception as error:
            LOGGER.debug("clean-up of %s%s", self.method, sample.params, exc_info=error)
            return error
        return None

    def _measured(self, sample: Sample, counted: Mapping[str, float]) -> dict[str, Any]:
        """Return the fields of the record that only a finished operation has."""
        is_time = self.method.startswith("time_")
        seconds = self.timer.seconds
        if not sample.finished or (is_time and seconds is None):
            raise HarnessError("the operation was not run to its end, with the clock on both sides")
        unit = "seconds" if is_time else getattr(getattr(self, self.method), "unit", self.unit)
        needed = self.needed_bytes()
        limits = self.limits or limits_of_environment()
        return {
            "value": seconds if is_time else float(self.result),
            "unit": unit,
            "bytes": needed,
            "ideal_seconds": None if limits is None else self.ideal_seconds(limits),
            "cache": proof(sample, counted, needed),
        }

    def _record(self, sample: Sample, **facts: Any) -> Record:
        extra = dict(sample.notes)
        cls = type(self)
        return Record(
            benchmark=f"{cls.__module__.partition('.')[2]}.{cls.__name__}.{self.method}",
            params=sample.params,
            return_seconds=extra.pop("return_seconds", None),
            extra=extra,
            runner=self.runner,
            round=self.round,
            seed=self.seed,
            process=os.getpid(),
            started_at=sample.started_at,
            **facts,
        )

    def _keep(self, record: Record) -> None:
        self.records.append(record)
        self.round += 1
        path = os.environ.get("BENCH_CORE_SAMPLES")
        if path:
            append_record(Path(path), record)
