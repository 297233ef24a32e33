"""Takes a share of an experiment's cells: what every engine starts, on whichever machine.

Processes that take shares of one run have nothing in common but its folder. Each holds the lock of
the cell it is at, appends to a file of its own, and looks, before it begins a cell, at what all of
them have written: so no sample is taken twice, and whoever is left takes what a lost one leaves.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Final

from harness import limits as machine_limits
from harness import records
from harness.errors import InputError
from harness.experiments.experiment import Call, Experiment, define
from harness.experiments.plan import GAVE_UP, TWIN, Cell, Turn, TurnKey, key_of, remaining
from harness.experiments.run_folder import RunFolder, machine_reserved
from harness.experiments.sections import parse_bytes
from harness.experiments.taken import Taken
from harness.experiments.watcher import Watcher
from harness.experiments.worker import Worker, WorkerDiedError, WorkerSettings
from harness.limits import LimitProbe, Limits
from harness.machine_state import throttling
from harness.records import CellLine, LimitsLine, Record, RunWriter
from harness.subprocesses import terminated_as_interrupt

ATTEMPTS: Final = 3
"""How often a sample is tried whose process ends: it may have been killed from outside."""
REFRESH_SECONDS: Final = 10.0
"""Between two looks at the disk's limits: a look takes half a second."""


@dataclass(frozen=True)
class Share:
    """A part of an experiment, in a form that can be sent to another process or machine."""

    call: Call
    folder: RunFolder
    position: int = 0
    count: int = 1
    """How many shares there are; this one's own cells are every ``count``-th from ``position``."""
    is_strict: bool = False
    """Whether to leave the cells of other shares alone, also if nobody takes them."""
    is_retry: bool = False
    """Whether to take samples again that have failed before."""


def take_share(share: Share, watcher: Watcher | None = None) -> None:
    """Take the samples of a share that nobody has taken yet; they are in the run's folder then.

    A sample that fails, is refused, hangs or takes its process with it is a record, and the rest
    goes on.

    Raises:
        InputError: the experiment, the folder or the machine is not what it was.
    """
    with terminated_as_interrupt(), _Going(share, watcher or Watcher()) as going:
        for cell in _in_order(going.experiment, share):
            going.take(cell)


def _in_order(experiment: Experiment, share: Share) -> Iterator[Cell]:
    """Yield the share's own cells, then those of others, to help whoever is slow or was lost."""
    mine = [range(share.position, len(experiment.cells), share.count)]
    others = [
        range((share.position + step) % share.count, len(experiment.cells), share.count)
        for step in range(1, share.count)
    ]
    for positions in mine if share.is_strict else mine + others:
        yield from (experiment.cells[position] for position in positions)


class _Going:
    """A share under way; a context manager."""

    def __init__(self, share: Share, watcher: Watcher) -> None:
        self.experiment = define(share.call)
        self._share = share
        self._watcher = watcher
        self._taken = Taken(share.folder.path)
        self._stack = ExitStack()
        self._writer: RunWriter | None = None
        self._probe: LimitProbe | None = None
        self._limits: Limits | None = None
        self._looked_at = 0.0
        self._retried: set[TurnKey] = set()

    def __enter__(self) -> _Going:
        share = self._share
        what = f"bench-core run {share.call.label}"
        reserved = machine_reserved(share.call.directory, what, shared=share.count > 1)
        self._stack.enter_context(reserved)
        self._taken.update()
        if share.is_retry:
            failed = [record for record in self._taken.records if record.status == "failed"]
            self._retried = {key_of(record) for record in failed}
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        with self._stack:
            if kind is None and self._writer is not None:
                self._probed("end")

    def take(self, cell: Cell) -> None:
        """Take what is left of a cell, unless another process is at it."""
        with self._share.folder.lock(cell.id) as is_mine:
            if not is_mine:
                return
            self._taken.update()
            left = self._left(cell)
            if not left.turns:
                return
            writer = self._begun()
            self._mark(writer, cell, "begin")
            self._take_rounds(left, writer)
            self._mark(writer, cell, "end")

    def _left(self, cell: Cell) -> Cell:
        known = [
            record
            for record in self._taken.of(cell.id)
            if not (record.status == "failed" and key_of(record) in self._retried)
        ]
        return remaining(cell, known)

    def _begun(self) -> RunWriter:
        """Return this process's file of samples; at the first call the limits are probed."""
        if self._writer is None:
            writer = self._share.folder.new_shard(self.experiment)
            self._writer = self._stack.enter_context(writer)
            if self.experiment.section.probe:
                self._probe = self._stack.enter_context(LimitProbe(self._share.call.directory))
            self._verify_io_limit()
            self._limits = self._probed("begin")
        return self._writer

    def _mark(self, writer: RunWriter, cell: Cell, event: str) -> None:
        line = CellLine(cell.id, event, cell.comparison, cell.label, records.utc_now())
        writer.cell(line)
        self._watcher.heard(line)

    def _take_rounds(self, cell: Cell, writer: RunWriter) -> None:
        with ExitStack() as stack:
            takers = _Takers(self._worker_settings(cell), self.experiment, stack)
            ended: set[str] = set()
            for number, turns in enumerate(cell.rounds):
                left = [turn for turn in turns if turn.case.id not in ended]
                if left:
                    self._refresh(number, writer)
                for turn in left:
                    if turn.case.id in ended:
                        continue
                    record = replace(takers.sample(turn, self._limits), cell=cell.id)
                    writer.sample(record)
                    self._watcher.heard(record)
                    if record.status == "skipped" or GAVE_UP in record.extra:
                        ended.add(turn.case.id)

    def _worker_settings(self, cell: Cell) -> WorkerSettings:
        section, call = self.experiment.section, self._share.call
        limit = section.memory_limit
        return WorkerSettings(
            package=call.package,
            directory=call.directory,
            log=self._share.folder.log(cell.id),
            memory_bytes=None if limit is None else parse_bytes(limit),
            time_limit=section.time_limit,
        )

    def _verify_io_limit(self) -> None:
        """Measure that the limit on the disk holds before anything is measured under it."""
        limit = self.experiment.section.io_limit
        if limit is None:
            return
        from prevent_caching.io_limit import verify

        for check in verify(self._share.call.directory, *limit.rates):
            if check.problem is not None:
                raise InputError(f"io_limit: {check.problem}")

    def _probed(self, when: str) -> Limits | None:
        if self._probe is None or self._writer is None:
            return None
        found = self._probe.probe(self._watcher.probing)
        # Beside the limits, so that two probes tell whether the processor was slowed in between.
        stated = {**found.as_dict(), "throttling": throttling()}
        self._writer.limits(LimitsLine(when, stated, taken_at=records.utc_now()))
        self._looked_at = time.monotonic()
        return self._capped(found)

    def _refresh(self, number: int, writer: RunWriter) -> None:
        """Look at the disk again: ideal times hold the best that was seen so far."""
        if self._probe is None or self._limits is None:
            return
        if time.monotonic() - self._looked_at < REFRESH_SECONDS:
            return
        now = self._probe.refresh(self._limits)
        writer.limits(LimitsLine("round", now.as_dict(), number, records.utc_now()))
        self._limits = self._capped(machine_limits.best(self._limits, now))
        self._looked_at = time.monotonic()

    def _capped(self, limits: Limits) -> Limits:
        """Return the limits as the samples meet them, under the section's limit on the disk."""
        limit = self.experiment.section.io_limit
        return limits if limit is None else machine_limits.capped(limits, *limit.rates)


class _Takers:
    """The processes that take a cell's samples: one, and another when it is lost."""

    def __init__(self, settings: WorkerSettings, experiment: Experiment, stack: ExitStack) -> None:
        self._settings = settings
        self._io_limit = experiment.section.io_limit
        self._stack = stack
        self._worker: Worker | None = None

    def sample(self, turn: Turn, limits: Limits | None) -> Record:
        """Take a sample, again if its process is lost; return its record, also if it fails."""
        attempt = 1
        while True:
            try:
                record = self._running().sample(turn, limits)
            except WorkerDiedError as error:
                self._worker = None
                if error.is_slow or attempt == ATTEMPTS:
                    return _given_up(turn, error, attempt)
                attempt += 1
            else:
                extra = {**record.extra, **({TWIN: True} if turn.is_twin else {})}
                return replace(record, repetition=turn.repetition, extra=extra)

    def _running(self) -> Worker:
        if self._worker is None:
            worker = self._stack.enter_context(Worker(self._settings))
            if self._io_limit is not None:
                from prevent_caching.io_limit import limited

                rates = self._io_limit.rates
                self._stack.enter_context(
                    limited(self._settings.directory, *rates, pid=worker.process)
                )
            self._worker = worker
        return self._worker


def _given_up(turn: Turn, error: WorkerDiedError, attempts: int) -> Record:
    tried = f" in {attempts} attempts" if attempts > 1 else ""
    return Record(
        benchmark=turn.case.benchmark,
        params=turn.case.params,
        status="failed",
        reason=f"{error}{tried}; the case's other rounds are not tried",
        round=turn.round,
        seed=turn.seed,
        repetition=turn.repetition,
        extra={GAVE_UP: True, **({TWIN: True} if turn.is_twin else {})},
        started_at=records.utc_now(),
    )
