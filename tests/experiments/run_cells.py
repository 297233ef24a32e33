"""Cells without a benchmark that could run, and samples of them at chosen times."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from harness.benchmark import Benchmark
from harness.discovery import Case
from harness.experiments.plan import TWIN, Cell, Turn
from harness.records import CellLine, Param, Record

BEGIN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


class Sized(Benchmark):
    """Inside the clock: nothing. Its bytes are known before it runs."""

    params = (("x", "y"), (1, 2))
    param_names = ("who", "size")

    @classmethod
    def planned_bytes(cls, **params: Param) -> int | None:
        """Return a million for each unit of size, or None where there is no size."""
        return int(params["size"]) * 10**6 if "size" in params else None

    def time_work(self, who: str, size: int) -> None:
        pass


def case(who: str, **fixed: Param) -> Case:
    return Case("work", Sized, "time_work", {"who": who, **fixed})


def cell(
    *contenders: str,
    name: str = "c",
    rounds: int = 2,
    seed: int = 0,
    repetition: int = 0,
    **fixed: Param,
) -> Cell:
    """Return the cell of a comparison in which these contenders take turns."""
    turns = tuple(
        tuple(Turn(case(who, **fixed), n, False, seed, repetition) for who in contenders)
        for n in range(rounds)
    )
    return Cell(name, "work.Sized.time_work", fixed, turns, seed, repetition)


def at(seconds: float) -> str:
    """Return a time so long after the begin."""
    return (BEGIN + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def sample(where: Cell, turn: Turn, seconds: float = 0.0, **fields: Any) -> Record:
    """Return the record of a turn that began so long after the begin."""
    extra = {**({TWIN: True} if turn.is_twin else {}), **fields.pop("extra", {})}
    given = {
        "params": turn.case.params,
        "round": turn.round,
        "seed": turn.seed,
        "repetition": turn.repetition,
        "cell": where.id,
        "process": 1,
        "started_at": at(seconds),
        "extra": extra,
        **fields,
    }
    return Record(benchmark=turn.case.benchmark, **given)


def mark(where: Cell, event: str, seconds: float = 0.0) -> CellLine:
    """Return the line that a cell began or ended so long after the begin."""
    return CellLine(where.id, event, where.comparison, where.label, at(seconds))
