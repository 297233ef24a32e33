"""Runs an experiment: hands its shares to an engine, and follows them in the run's folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.experiments import engines
from harness.experiments.experiment import Experiment
from harness.experiments.plan import key_of, remaining
from harness.experiments.run_folder import RunFolder
from harness.experiments.share import Share, take_share
from harness.experiments.taken import Taken
from harness.experiments.watcher import Watcher
from harness.limits import Limits, drifted
from harness.records import Record, read_run
from harness.subprocesses import terminated_as_interrupt


@dataclass(frozen=True)
class Part:
    """Which of the experiment's cells this command takes, and of the samples in them."""

    position: int | None = None
    """Of the strict share that this command is; None for all cells."""
    is_retry: bool = False
    """Whether samples that failed are taken again."""


ALL = Part()


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    path: Path
    """The run's folder."""
    counts: Mapping[str, int]
    """Status to number of samples, earlier ones included."""
    new: int
    """Samples that were not there before."""
    left: int
    """Samples that are still to be taken."""
    drifted: Mapping[str, float]
    """Limits that moved by more than 20 % between a file's begin and its end, and how far."""
    lost: tuple[str, ...] = ()
    """A line for each share that an engine lost."""

    @property
    def is_broken(self) -> bool:
        """Whether a sample failed."""
        return self.counts.get("failed", 0) > 0


def run(
    experiment: Experiment, folder: RunFolder, watcher: Watcher | None = None, part: Part = ALL
) -> Outcome:
    """Take all samples of an experiment that its folder lacks.

    Contenders are interleaved in rounds; each cell has a process of its own. A sample that fails,
    is refused, hangs or takes its process with it is a record, and the run goes on. Interrupted at
    any moment, the same call takes the rest.

    Raises:
        InputError: another run is under way here, a file of the folder is damaged, or the engine
            is not installed.
        EngineError: a share could not do its work.
    """
    watcher = watcher or Watcher()
    taken = Taken(folder.path)
    before = taken.update()
    watcher.planned(experiment.cells, before)
    section = experiment.section
    count = section.jobs
    shares = [
        Share(experiment.call, folder, position, count, part.position is not None, part.is_retry)
        for position in range(count)
    ]
    lost: list[str] = []
    if part.position is not None or (section.engine == "processes" and count == 1):
        # In this process, so that nothing of ours runs beside a sample.
        take_share(shares[part.position or 0], watcher)
        taken.update()
    else:
        with terminated_as_interrupt():
            engine = engines.get(section.engine)
            lost = engine(shares, section.engine_options, lambda: follow(taken, watcher))
        follow(taken, watcher)
    known = sum(isinstance(line, Record) for line in before)
    return _outcome(experiment, folder, taken, known, tuple(lost), part)


def follow(taken: Taken, watcher: Watcher) -> None:
    """Tell a watcher what has come into a run's folder since the last call."""
    for line in taken.update():
        watcher.heard(line)
    watcher.waiting()


def latest(records: list[Record]) -> list[Record]:
    """Return the records without those that a later attempt took the place of."""
    return list({key_of(record): record for record in records}.values())


def _outcome(
    experiment: Experiment,
    folder: RunFolder,
    taken: Taken,
    before: int,
    lost: tuple[str, ...],
    part: Part,
) -> Outcome:
    cells = experiment.cells
    if part.position is not None:
        cells = cells[part.position :: experiment.section.jobs]
    # The folder may also hold samples that this call does not ask for.
    asked = {turn.key for cell in cells for turn in cell.turns}
    records = [
        record for cell in cells for record in latest(taken.of(cell.id)) if key_of(record) in asked
    ]
    left = sum(len(remaining(cell, taken.of(cell.id)).turns) for cell in cells)
    return Outcome(
        folder.path,
        dict(Counter(record.status for record in records)),
        sum(1 for _ in taken.records) - before,
        left,
        _drifted(folder),
        lost,
    )


def _drifted(folder: RunFolder) -> dict[str, float]:
    found: dict[str, float] = {}
    for path in folder.shards:
        probes = {line.when: Limits.from_dict(line.limits) for line in read_run(path).limits}
        if "begin" in probes and "end" in probes:
            for name, change in drifted(probes["begin"], probes["end"]).items():
                found[name] = max(change, found.get(name, change), key=abs)
    return found
