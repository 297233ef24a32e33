"""An experiment: a section as it was called for, so that a run's file says how to take it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import records
from harness.benchmark import data_dir
from harness.errors import InputError
from harness.experiments import sections
from harness.experiments.plan import Group, parameters, plan
from harness.experiments.sections import Section
from harness.machine import describe, machine_name
from harness.records import Run, RunHeader

BENCHMARKS = "benchmarks"


@dataclass(frozen=True)
class Experiment:
    """What is to be run, and where; `define` checks it."""

    name: str
    """The section's name."""
    section: Section
    """With the settings applied."""
    groups: tuple[Group, ...]
    """All samples, a group for each comparison."""
    directory: Path
    """The data folder."""
    settings: tuple[str, ...] = ()
    """``key=value``, as given on the command line."""
    only: tuple[str, ...] = ()
    """The comparisons that were chosen; all if none was."""
    file: Path | None = None
    """The user's TOML file, or None for an embedded section."""
    package: str | Path = BENCHMARKS

    def header(self) -> RunHeader:
        """Return the header of a new run."""
        return RunHeader(
            run_id=records.new_run_id(),
            started_at=records.utc_now(),
            machine_name=machine_name(),
            machine=describe(self.directory),
            section=self.name,
            settings={
                "title": self.section.title,
                "rounds": self.section.rounds,
                "set": list(self.settings),
                "only": list(self.only),
                "file": None if self.file is None else str(self.file),
                "benchmarks": str(self.package),
            },
        )


def define(
    name: str,
    *,
    directory: Path | None = None,
    settings: Sequence[str] = (),
    only: Sequence[str] = (),
    file: Path | None = None,
    package: str | Path = BENCHMARKS,
) -> Experiment:
    """Read a section, apply the settings and plan its samples.

    Args:
        name: of the section.
        directory: the data folder; None for `harness.benchmark.data_dir`.
        settings: ``key=value`` each; see `harness.experiments.sections.override`.
        only: names of comparisons; none for all.
        file: a TOML file with the section; None for an embedded one.
        package: of the benchmarks: a name, or a folder.

    Raises:
        InputError: something in it is wrong; one line says what, where, and the nearest name.
    """
    section = sections.load(name, file)
    where = sections.where(name, file)
    if only:
        section = sections.only(section, only)
    if settings:
        section = sections.override(section, settings, parameters(section, package, where))
        where = f"{where} with --set"
    groups = plan(section, package, where)
    folder = data_dir() if directory is None else directory
    return Experiment(
        name, section, tuple(groups), folder, tuple(settings), tuple(only), file, package
    )


def define_again(run: Run, directory: Path | None = None) -> Experiment:
    """Return the experiment that a run was begun with, to go on with it.

    Raises:
        InputError: the file is no run of a section, or this machine or commit is another one.
    """
    if run.header.section is None:
        raise InputError("the file holds no run of a section; it cannot be resumed")
    called: Mapping[str, Any] = run.header.settings
    package = called.get("benchmarks", BENCHMARKS)
    experiment = define(
        run.header.section,
        directory=directory,
        settings=called.get("set", ()),
        only=called.get("only", ()),
        file=Path(called["file"]) if called.get("file") else None,
        package=package if package == BENCHMARKS else Path(package),
    )
    _require_same(run.header, experiment.header())
    return experiment


def _require_same(old: RunHeader, new: RunHeader) -> None:
    """Refuse to mix the samples of two machines or commits in one run."""
    for fact, was, now in (
        ("machine", old.machine_name, new.machine_name),
        ("commit", _commit(old), _commit(new)),
    ):
        if was != now:
            raise InputError(f"the run was begun with {fact} {was}, this is {now}; begin a new run")


def _commit(header: RunHeader) -> str | None:
    git: Mapping[str, Any] = header.machine.get("git") or {}
    return git.get("commit")
