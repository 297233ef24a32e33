"""An experiment: a section as it was called for, in a form that any process can define again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import records
from harness.benchmark import data_dir
from harness.experiments import library, sections, settings
from harness.experiments.drawable import check_figures
from harness.experiments.plan import Cell, parameters, plan
from harness.experiments.sections import Section
from harness.machine import describe, machine_name
from harness.records import RunHeader

BENCHMARKS = "benchmarks"


@dataclass(frozen=True)
class Call:
    """What was asked for: all that a process on this or another machine needs to define it."""

    name: str
    """The section's name."""
    directory: Path
    """The data folder."""
    words: tuple[str, ...] = ()
    """``key=value``, as given on the command line."""
    only: tuple[str, ...] = ()
    """The comparisons that were chosen; all if none was."""
    file: Path | None = None
    """The user's TOML file, or None for an embedded section."""
    package: str | Path = BENCHMARKS
    """Of the benchmarks: a name, or a folder."""
    is_test: bool = False
    """Whether the section's ``test`` changes its size."""

    @property
    def label(self) -> str:
        """The section's name; a test's results are kept apart from those of the whole."""
        return f"{self.name}-test" if self.is_test else self.name


@dataclass(frozen=True)
class Experiment:
    """What is to be run, checked whole; `define` makes it."""

    call: Call
    section: Section
    """With all settings applied."""
    cells: tuple[Cell, ...]

    @property
    def name(self) -> str:
        """The section's name, marked if it has the size of a test."""
        return self.call.label

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return sum(len(cell.turns) for cell in self.cells)

    def header(self, code: str, run_id: str) -> RunHeader:
        """Return the header of a new file of samples.

        Args:
            code: digest of the code, as `harness.experiments.identity.code_digest` gives it.
            run_id: see `harness.records.new_run_id`.
        """
        return RunHeader(
            run_id=run_id,
            started_at=records.utc_now(),
            machine_name=machine_name(),
            machine=describe(self.call.directory),
            section=self.call.name,
            settings={**self.described(), "code": code},
        )

    def described(self) -> dict[str, Any]:
        """Return how the experiment was called for, as JSON types."""
        section, call = self.section, self.call
        return {
            "title": section.title,
            "rounds": section.rounds,
            "repetitions": section.repetitions,
            "seeds": list(section.seeds),
            "jobs": section.jobs,
            "engine": section.engine,
            "memory_limit": section.memory_limit,
            "io_limit": None if section.io_limit is None else section.io_limit.model_dump(),
            "test": call.is_test,
            "set": list(call.words),
            "only": list(call.only),
            "file": None if call.file is None else str(call.file),
            "benchmarks": str(call.package),
            "figures": [spec.model_dump(exclude_defaults=True) for spec in section.figures],
            "published": list(section.published),
        }


def call_for(
    name: str,
    *,
    directory: Path | None = None,
    words: Sequence[str] = (),
    only: Sequence[str] = (),
    file: Path | None = None,
    package: str | Path = BENCHMARKS,
    is_test: bool = False,
) -> Call:
    """Return a call with its defaults filled in; see `Call`."""
    return Call(
        name,
        data_dir() if directory is None else directory.absolute(),
        tuple(words),
        tuple(only),
        None if file is None else file.absolute(),
        package.absolute() if isinstance(package, Path) else package,
        is_test,
    )


def define(call: Call) -> Experiment:
    """Read a section, apply the settings and plan its samples; nothing runs, all is checked.

    The section's own ``set`` comes first, then its ``test`` if that was asked for, then the
    command line.

    Raises:
        InputError: something in it is wrong; one line says what, where, and the nearest name.
    """
    section = library.load(call.name, call.file)
    where = library.where(call.name, call.file)
    known = parameters(section, call.package, where)
    check_figures(section, known, where)
    changes = [(settings.from_table(section.set), f"{where}: set")]
    if call.is_test:
        changes.append((settings.from_table(section.test), f"{where}: test"))
    for change, source in changes:
        section = settings.apply(section, change, known, source)
    if call.only:
        # What the section itself sets may be of comparisons that are left out now.
        section = sections.only(section, call.only)
        known = {comparison.name: known[comparison.name] for comparison in section.comparisons}
    section = settings.apply(section, settings.from_words(call.words), known, "--set")
    if call.words or call.is_test:
        where = f"{where} with {'--test' if call.is_test else '--set'}"
    return Experiment(call, section, tuple(plan(section, call.package, where)))
