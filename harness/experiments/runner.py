"""Runs a section: probes, rounds, one process a comparison, every sample in the file as it ends."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from harness import limits as machine_limits
from harness import records
from harness.experiments.experiment import Experiment
from harness.experiments.plan import Group, Turn, remaining
from harness.experiments.worker import Worker, WorkerDiedError
from harness.limits import LimitProbe, Limits
from harness.records import LimitsLine, Record, RunWriter
from harness.subprocesses import terminated_as_interrupt


class Watcher:
    """Hears how far a run is, and does nothing about it; subclasses do."""

    def planned(self, groups: Sequence[Group]) -> None:
        """Hear of all samples that are to be taken."""

    def probing(self, limit: str) -> None:
        """Hear that a limit of the machine is about to be probed."""

    def taking(self, group: Group, turn: Turn) -> None:
        """Hear that a sample is about to be taken."""

    def taken(self, turn: Turn, record: Record, seconds: float) -> None:
        """Hear of a sample, and how long it took with all that is around it."""

    def dropped(self, case_id: str) -> None:
        """Hear that no more samples of a case are taken."""


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    path: Path
    counts: Mapping[str, int]
    """Status to number of samples, earlier ones of a resumed run included."""
    drifted: Mapping[str, float]
    """Limits that moved by more than 20 % between the run's start and its end, and how far."""

    @property
    def is_broken(self) -> bool:
        """Whether a sample failed."""
        return self.counts.get("failed", 0) > 0


def run_section(
    experiment: Experiment, out: Path, watcher: Watcher | None = None, *, resume: bool = False
) -> Outcome:
    """Take all samples of a section, or what is left of them, and append each to ``out``.

    Contenders are interleaved in rounds; each comparison has a process of its own. A sample that
    fails, is refused, hangs or takes its process with it is a record, and the run goes on.

    Args:
        experiment: what to run.
        out: a file that does not exist yet; or, with ``resume``, one of the same experiment.
        watcher: hears of the progress.
        resume: whether to go on with ``out``, and skip the samples that stand in it.

    Raises:
        InputError: the file is there already; or it is not, or is damaged, with ``resume``.
    """
    before = records.read_run(out).records if resume else ()
    groups = remaining(experiment.groups, before)
    experiment.directory.mkdir(parents=True, exist_ok=True)
    writer = RunWriter.resume(out) if resume else RunWriter.create(out, experiment.header())
    with ExitStack() as stack:
        stack.enter_context(terminated_as_interrupt())
        stack.enter_context(writer)
        probe = None
        if experiment.section.probe:
            probe = stack.enter_context(LimitProbe(experiment.directory))
        going = _Run(experiment, writer, probe, watcher or Watcher())
        going.take(groups)
    going.counts.update(record.status for record in before)
    return Outcome(out, dict(going.counts), going.drifted)


class _Run:
    def __init__(
        self, experiment: Experiment, writer: RunWriter, probe: LimitProbe | None, watcher: Watcher
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.drifted: dict[str, float] = {}
        self._experiment = experiment
        self._writer = writer
        self._probe = probe
        self._watcher = watcher
        self._limits: Limits | None = None
        self._dropped: set[str] = set()

    def take(self, groups: Sequence[Group]) -> None:
        self._watcher.planned(groups)
        if not any(group.turns for group in groups):
            return
        begin = self._limits = self._probed("begin")
        for group in groups:
            self._take_group(group)
        end = self._probed("end")
        if begin is not None and end is not None:
            self.drifted = machine_limits.drifted(begin, end)

    def _probed(self, when: str) -> Limits | None:
        if self._probe is None:
            return None
        found = self._probe.probe(self._watcher.probing)
        self._writer.limits(LimitsLine(when, found.as_dict(), taken_at=records.utc_now()))
        return found

    def _refresh(self, number: int) -> None:
        """Look at the disk again: ideal times hold the best that was seen so far."""
        if self._probe is None or self._limits is None:
            return
        now = self._probe.refresh(self._limits)
        self._writer.limits(LimitsLine("round", now.as_dict(), number, records.utc_now()))
        self._limits = machine_limits.best(self._limits, now)

    def _take_group(self, group: Group) -> None:
        with ExitStack() as stack:
            worker: Worker | None = None
            for number, turns in enumerate(group.rounds):
                if turns:
                    self._refresh(number)
                for turn in turns:
                    if turn.case.id in self._dropped:
                        continue
                    if worker is None:
                        experiment = self._experiment
                        worker = Worker(experiment.package, experiment.directory)
                        stack.enter_context(worker)
                    self._watcher.taking(group, turn)
                    if not self._take_turn(worker, turn):
                        worker = None

    def _take_turn(self, worker: Worker, turn: Turn) -> bool:
        """Take a sample; return whether its process is still there."""
        began = time.perf_counter()
        alive = True
        try:
            record = worker.sample(turn, self._limits)
        except WorkerDiedError as error:
            record, alive = _failed(turn, f"{error}; the case's other rounds are not tried"), False
        self._writer.sample(record)
        self.counts[record.status] += 1
        self._watcher.taken(turn, record, time.perf_counter() - began)
        if record.status == "skipped" or not alive:
            self._dropped.add(turn.case.id)
            self._watcher.dropped(turn.case.id)
        return alive


def _failed(turn: Turn, reason: str) -> Record:
    return Record(
        benchmark=turn.case.benchmark,
        params=turn.case.params,
        status="failed",
        reason=reason,
        round=turn.round,
        started_at=records.utc_now(),
    )
