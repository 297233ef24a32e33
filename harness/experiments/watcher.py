"""What can be heard of a run while it goes on."""

from __future__ import annotations

from collections.abc import Sequence

from harness.experiments.plan import Cell
from harness.experiments.taken import Line


class Watcher:
    """Hears how far a run is, and does nothing about it; subclasses do."""

    def planned(self, cells: Sequence[Cell], before: Sequence[Line]) -> None:
        """Hear of all cells, and of what was in the run's folder before."""

    def probing(self, limit: str) -> None:
        """Hear that a limit of the machine is about to be probed."""

    def heard(self, line: Line) -> None:
        """Hear of a sample, or that a process began or ended a cell."""

    def waiting(self) -> None:
        """Hear, now and then, that time has passed."""


class Watchers(Watcher):
    """Passes on what it hears to others."""

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        self._watchers = tuple(watchers)

    def planned(self, cells: Sequence[Cell], before: Sequence[Line]) -> None:
        """Pass on."""
        for watcher in self._watchers:
            watcher.planned(cells, before)

    def probing(self, limit: str) -> None:
        """Pass on."""
        for watcher in self._watchers:
            watcher.probing(limit)

    def heard(self, line: Line) -> None:
        """Pass on."""
        for watcher in self._watchers:
            watcher.heard(line)

    def waiting(self) -> None:
        """Pass on."""
        for watcher in self._watchers:
            watcher.waiting()
