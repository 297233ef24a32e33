"""How far a run is, seen from outside: from its folder alone, whoever measures it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from harness.errors import InputError
from harness.experiments.experiment import BENCHMARKS, Call, call_for, define
from harness.experiments.progress import table
from harness.experiments.run_folder import DESCRIPTION, RUNS, described
from harness.experiments.standing import Standing, duration
from harness.experiments.taken import Taken


class Status:
    """A run's folder, looked at again and again.

    Args:
        folder: of the run.

    Raises:
        InputError: it is no run's folder, or its experiment cannot be defined any more.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._described = described(folder)
        try:
            experiment = define(_call(self._described))
        except InputError as error:
            raise InputError(f"{folder}: what it is of cannot be read any more: {error}") from error
        self._jobs = experiment.section.jobs
        self._standing = Standing(experiment.cells)
        self._taken = Taken(folder)

    @property
    def is_done(self) -> bool:
        """Whether no sample is left."""
        return self._standing.tally().samples_left == 0

    def shown(self) -> RenderableType:
        """Read what is new in the folder, and return the numbers."""
        for line in self._taken.update():
            self._standing.heard(line)
        tally = self._standing.tally()
        seconds = self._standing.seconds_left(self._jobs)
        left = "" if seconds is None else f", {duration(seconds)} left"
        statuses = ", ".join(f"{n} {status}" for status, n in sorted(tally.statuses.items()))
        lines = [
            f"{self._described['section']}: {self._folder}",
            f"{tally.done} of {tally.cells} cells done, {tally.running} begun, "
            f"{tally.samples_left} of {tally.samples} samples left{left} ({statuses or 'none'})",
        ]
        return Group(table(self._standing), *map(Text, lines))


def newest_folder(root: Path = RUNS) -> Path:
    """Return the folder of the run that was written to last.

    Raises:
        InputError: there is none.
    """
    found = [path.parent for path in root.rglob(DESCRIPTION)]
    if not found:
        raise InputError(f"no runs under {root}; take one with: bench-core run quick")
    return max(found, key=_written_at)


def _written_at(folder: Path) -> float:
    return max(path.stat().st_mtime for path in (folder, *folder.glob("*.jsonl")))


def _call(content: dict[str, Any]) -> Call:
    package = content.get("benchmarks", BENCHMARKS)
    is_test = bool(content.get("test"))
    name = str(content["section"])
    return call_for(
        name.removesuffix("-test") if is_test else name,
        words=content.get("set", ()),
        only=content.get("only", ()),
        file=Path(content["file"]) if content.get("file") else None,
        package=package if package == BENCHMARKS else Path(package),
        is_test=is_test,
    )
