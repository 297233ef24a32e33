"""Where a run stands: its cells that are done, running and failed, and the time that is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.experiments.pace import Pace
from harness.experiments.plan import Cell, Turn, TurnKey, case_key_of, is_end_of_case, key_of
from harness.records import CellLine, Record


@dataclass
class Place:
    """One cell: its samples that are to be taken, and what became of those that were."""

    cell: Cell
    left: dict[TurnKey, Turn]
    taken: dict[TurnKey, str] = field(default_factory=dict)
    """The status of each sample that was taken; of one that was taken again, the last."""
    statuses: Counter[str] = field(default_factory=Counter)
    """How many of them have a status."""
    is_running: bool = False

    def heard(self, record: Record) -> None:
        """Count a sample, if it is one of those that are to be taken."""
        key = key_of(record)
        if key not in self.left and key not in self.taken:
            return
        self.left.pop(key, None)
        self.statuses -= Counter([self.taken.get(key, "")])
        self.statuses[record.status] += 1
        self.taken[key] = record.status
        if is_end_of_case(record):
            case = case_key_of(record)
            self.left = {k: turn for k, turn in self.left.items() if turn.case_key != case}


@dataclass(frozen=True)
class Tally:
    """Numbers of one comparison, or of a whole run."""

    cells: int
    done: int
    running: int
    failed: int
    """Cells with a failed sample."""
    samples: int
    samples_left: int
    statuses: Counter[str]


class Standing:
    """Hears of cells and samples, and knows where the run stands.

    Args:
        cells: all that is to be taken.
    """

    def __init__(self, cells: Sequence[Cell]) -> None:
        self.pace = Pace()
        self._places = {
            cell.id: Place(cell, {turn.key: turn for turn in cell.turns}) for cell in cells
        }

    @property
    def comparisons(self) -> list[str]:
        """The names of the comparisons, in order."""
        return list(dict.fromkeys(place.cell.comparison for place in self._places.values()))

    def heard(self, line: Record | CellLine) -> None:
        """Take note of a sample, or that a cell began or ended."""
        if isinstance(line, Record):
            self._taken(line)
            return
        if line.event == "begin":
            self.pace.began(line.cell, line.at)
        else:
            self.pace.ended(line.cell, line.at)
        if place := self._places.get(line.cell):
            place.is_running = line.event == "begin"

    def tally(self, comparison: str | None = None) -> Tally:
        """Return the numbers of a comparison, or of all."""
        places = [
            place for place in self._places.values() if comparison in (None, place.cell.comparison)
        ]
        return Tally(
            cells=len(places),
            done=sum(not place.left for place in places),
            running=sum(place.is_running and bool(place.left) for place in places),
            failed=sum(place.statuses["failed"] > 0 for place in places),
            samples=sum(len(place.cell.turns) for place in places),
            samples_left=sum(len(place.left) for place in places),
            statuses=sum((place.statuses for place in places), Counter()),
        )

    @property
    def running(self) -> list[Cell]:
        """The cells that processes are at."""
        return [place.cell for place in self._places.values() if place.is_running and place.left]

    def seconds_left(self, jobs: int = 1) -> float | None:
        """Return the expected time of what is left, or None while nothing is known."""
        turns = [turn for place in self._places.values() for turn in place.left.values()]
        cells = sum(bool(place.left) and not place.is_running for place in self._places.values())
        seconds, _ = self.pace.total((turn.case for turn in turns), cells)
        return None if seconds is None else seconds / max(min(jobs, len(self._places)), 1)

    def _taken(self, record: Record) -> None:
        self.pace.taken(record)
        if place := self._places.get(record.cell):
            place.heard(record)


def duration(seconds: float) -> str:
    """Return a time as ``40 s``, ``3 min 20 s`` or ``2 h 05 min``."""
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
