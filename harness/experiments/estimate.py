"""What an experiment would cost: samples, seconds and bytes, from what earlier runs took."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.table import Table

from harness.errors import InputError
from harness.experiments.experiment import Experiment
from harness.experiments.pace import Pace, planned_bytes
from harness.experiments.plan import Cell
from harness.experiments.standing import duration
from harness.records import CellLine, Record, read_run
from harness.units import byte_count, count

SOURCES: Final = (Path("results/runs"), Path("results/reference"))
"""Where earlier runs are; of each comparison the one that knows more of its cases is taken."""
START_SECONDS: Final = 3.0
"""Of a cell's process, where no run tells: the interpreter and the libraries."""


@dataclass(frozen=True)
class Row:
    """One comparison of an experiment."""

    comparison: str
    benchmark: str
    cells: int
    samples: int
    nbytes: int
    """Bytes that its samples move, as far as their classes can tell."""
    seconds: float | None
    unknown: int
    """Samples of which nothing like them was measured before."""


@dataclass(frozen=True)
class Estimate:
    """What an experiment would cost."""

    rows: tuple[Row, ...]
    learnt_from: int
    """Samples that the times come from."""
    jobs: int

    @property
    def seconds(self) -> float | None:
        """Of all comparisons; None if of none anything is known."""
        known = [row.seconds for row in self.rows if row.seconds is not None]
        return sum(known) / self.jobs if known else None

    def table(self) -> Table:
        """Return a row a comparison."""
        shown = Table(box=None, pad_edge=False, header_style="underline")
        for name in ("comparison", "benchmark"):
            shown.add_column(name, no_wrap=True)
        for name in ("cells", "samples", "moves", "takes"):
            shown.add_column(name, justify="right", no_wrap=True)
        for row in self.rows:
            takes = "?" if row.seconds is None else duration(row.seconds)
            moves = byte_count(row.nbytes) if row.nbytes else "?"
            cells, samples = str(row.cells), str(row.samples)
            shown.add_row(row.comparison, row.benchmark, cells, samples, moves, takes)
        return shown

    def summary(self) -> str:
        """Return the whole in one line."""
        samples = sum(row.samples for row in self.rows)
        cells = sum(row.cells for row in self.rows)
        nbytes = sum(row.nbytes for row in self.rows)
        new = sum(row.unknown for row in self.rows if row.seconds is None)
        guessed = sum(row.unknown for row in self.rows) - new
        parts = [f"{count(samples, 'sample')} in {count(cells, 'cell')}"]
        parts += [f"moving {byte_count(nbytes)}"] if nbytes else []
        if self.seconds is None:
            parts.append("time unknown: nothing like it was measured before")
        else:
            parts.append(f"about {duration(self.seconds)}, from {self.learnt_from} earlier samples")
            parts += (
                [f"{count(guessed, 'sample')} guessed by others beside them"] if guessed else []
            )
            parts += [f"{count(new, 'sample')} not counted, as nothing is like them"] if new else []
        return "; ".join(parts)


def estimate(experiment: Experiment, root: Path = Path()) -> Estimate:
    """Return what an experiment would cost.

    Args:
        experiment: what would run.
        root: the folder with ``results``.
    """
    paces = [_learnt(root / source) for source in SOURCES]
    by_comparison: dict[str, list[Cell]] = {}
    for cell in experiment.cells:
        by_comparison.setdefault(cell.comparison, []).append(cell)
    rows = tuple(_row(name, cells, paces) for name, cells in by_comparison.items())
    return Estimate(rows, sum(pace.samples for pace in paces), experiment.section.jobs)


def _row(name: str, cells: list[Cell], paces: list[Pace]) -> Row:
    cases = [turn.case for cell in cells for turn in cell.turns]
    nbytes = sum(planned_bytes(case) or 0 for case in cases)
    # What knows the cases themselves tells more than what knows others of their benchmark.
    pace = max(paces, key=lambda pace: (sum(map(pace.knows, cases)), pace.total(cases)[1] == 0))
    seconds, unknown = pace.total(cases, len(cells))
    if seconds is not None:
        seconds += START_SECONDS * len(cells)
    return Row(name, cells[0].benchmark, len(cells), len(cases), nbytes, seconds, unknown)


def _learnt(folder: Path) -> Pace:
    pace = Pace()
    for path in sorted(folder.rglob("*.jsonl")):
        for line in _lines(path):
            if isinstance(line, Record):
                pace.taken(line, str(path))
            elif line.event == "end":
                pace.ended(line.cell, line.at)
    return pace


def _lines(path: Path) -> Iterator[Record | CellLine]:
    """Yield a file's samples and the ends of its cells, in the order of their times."""
    try:
        run = read_run(path)
    except InputError:
        return  # a damaged file says nothing of times; whoever reports on it is told
    lines: list[tuple[str, Record | CellLine]] = [
        *((record.started_at, record) for record in run.records),
        *((cell.at, cell) for cell in run.cells),
    ]
    yield from (line for _, line in sorted(lines, key=lambda item: item[0]))
