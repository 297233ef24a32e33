"""From a section to its grid: cells, and in each cell the interleaved order of its samples."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness import discovery
from harness.benchmark import Benchmark
from harness.discovery import Case
from harness.errors import InputError, nearest
from harness.experiments.sections import Comparison, Section
from harness.records import Param, Record

TWIN: Final = "twin"
"""Key in a record's extra: a sample of a contender measured a second time in its round."""
GAVE_UP: Final = "gave_up"
"""Key in a record's extra: the case's other samples in the cell are not tried."""
ID_DIGITS: Final = 12

CaseKey = tuple[str, int, int]
TurnKey = tuple[str, int, int, int, bool]


@dataclass(frozen=True)
class Turn:
    """One sample to be taken."""

    case: Case
    round: int
    is_twin: bool = False
    seed: int = 0
    repetition: int = 0

    @property
    def case_key(self) -> CaseKey:
        """What all samples of the case in its cell share."""
        return self.case.id, self.seed, self.repetition

    @property
    def key(self) -> TurnKey:
        """What identifies the sample in its run."""
        return (*self.case_key, self.round, self.is_twin)


@dataclass(frozen=True)
class Cell:
    """The samples that one process takes in this order: a point of the experiment's grid.

    Its contenders take turns; all other parameters, the seed and the repetition are fixed.
    """

    comparison: str
    benchmark: str
    fixed: Mapping[str, Param]
    """The parameters that all its samples share."""
    rounds: tuple[tuple[Turn, ...], ...]
    seed: int = 0
    repetition: int = 0

    @property
    def id(self) -> str:
        """Digest of what the cell is, whichever contenders and rounds are asked for.

        Within a run's folder, whose name stands for the code and the machine, it is the cell's
        identity.
        """
        identity = [self.comparison, self.benchmark, dict(self.fixed), self.seed, self.repetition]
        text = json.dumps(identity, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:ID_DIGITS]

    @property
    def turns(self) -> list[Turn]:
        """All samples, in order."""
        return [turn for turns in self.rounds for turn in turns]

    @property
    def label(self) -> str:
        """The parameters as people read them."""
        parts = [f"{name}={value}" for name, value in self.fixed.items()]
        parts += [f"seed={self.seed}"] if self.seed else []
        parts += [f"repetition={self.repetition}"] if self.repetition else []
        return ", ".join(parts)


def parameters(section: Section, package: str | Path, where: str) -> dict[str, list[str]]:
    """Return each comparison's parameters, by its name.

    Raises:
        InputError: a comparison names a benchmark that does not exist.
    """
    examples = _examples(package)
    return {
        comparison.name: list(discovery.parameter_axes(_class_of(comparison, examples, where)))
        for comparison in section.comparisons
    }


def plan(section: Section, package: str | Path = "benchmarks", where: str = "") -> list[Cell]:
    """Return the section's cells: all of them once, then all again for each further repetition.

    In each round of a cell, the contenders run one after the other, forward in even rounds and
    backward in odd ones: drift hits all of them alike. A twin runs at the other end of its round.

    Raises:
        InputError: an unknown benchmark, parameter or value; the text names it and the nearest
            that exists.
    """
    examples = _examples(package)
    grids = [
        _Grid.of(comparison, section.rounds, examples, f"{where}{': ' if where else ''}")
        for comparison in section.comparisons
    ]
    cells = [
        cell
        for repetition in range(section.repetitions)
        for grid in grids
        for seed in section.seeds
        for cell in grid.cells(seed, repetition)
    ]
    _check_overlap(cells, where)
    return cells


def remaining(cell: Cell, records: Iterable[Record]) -> Cell:
    """Return what is left to do of a cell beside these samples.

    A case that was skipped stays skipped, and one that was given up is not tried again.
    """
    taken = list(records)
    done = {key_of(record) for record in taken}
    ended = {case_key_of(record) for record in taken if is_end_of_case(record)}
    left = tuple(
        tuple(turn for turn in turns if turn.key not in done and turn.case_key not in ended)
        for turns in cell.rounds
    )
    return Cell(cell.comparison, cell.benchmark, cell.fixed, left, cell.seed, cell.repetition)


def is_end_of_case(record: Record) -> bool:
    """Tell whether no other sample of the record's case in its cell is to be taken."""
    return record.status == "skipped" or bool(record.extra.get(GAVE_UP))


def case_id(record: Record) -> str:
    """Return ``module.Class.method('value', 3)`` of a record, which is `Case.id`."""
    values = ", ".join(map(repr, record.params.values()))
    return f"{record.benchmark}({values})" if record.params else record.benchmark


def case_key_of(record: Record) -> CaseKey:
    """Return the `Turn.case_key` that a record belongs to."""
    return case_id(record), record.seed, record.repetition


def key_of(record: Record) -> TurnKey:
    """Return the `Turn.key` that a record belongs to."""
    return (*case_key_of(record), record.round, bool(record.extra.get(TWIN)))


def _examples(package: str | Path) -> dict[str, Case]:
    """Return a case of each benchmark, by the benchmark's name."""
    return {case.benchmark: case for case in discovery.cases(package)}


def _class_of(comparison: Comparison, examples: Mapping[str, Case], where: str) -> type[Benchmark]:
    found = examples.get(comparison.benchmark)
    if found is None:
        raise InputError(
            f"{where}{comparison.name}.benchmark = {comparison.benchmark!r}: there is no such "
            f"benchmark{nearest(comparison.benchmark, examples)}"
        )
    return found.cls


@dataclass(frozen=True)
class _Grid:
    """A comparison with all that the planning of its cells needs."""

    comparison: Comparison
    example: Case
    axes: Mapping[str, tuple[Param, ...]]
    """The parameters with their values, in the class's order."""
    contender: str | None
    rounds: int

    @classmethod
    def of(
        cls, comparison: Comparison, rounds: int, examples: Mapping[str, Case], where: str
    ) -> _Grid:
        """Check a comparison against its benchmark's class.

        Raises:
            InputError: something in it does not fit.
        """
        benchmark = _class_of(comparison, examples, where)
        where = f"{where}{comparison.name}"
        axes = _axes(comparison, benchmark, discovery.parameter_axes(benchmark), where)
        contender = comparison.contender or next(iter(axes), None)
        named = [comparison.contender] if comparison.contender else []
        for key, names in (("contender", named), ("interleave", comparison.interleave)):
            for name in names:
                if name not in axes:
                    raise InputError(
                        f"{where}.{key} = {name!r}: no such parameter{nearest(name, axes)}"
                    )
        _check_twins(comparison, axes, contender, where)
        example = examples[comparison.benchmark]
        return cls(comparison, example, axes, contender, comparison.rounds or rounds)

    def cells(self, seed: int, repetition: int) -> Iterator[Cell]:
        """Yield a cell for each combination of the parameters that do not take turns."""
        moving = {self.contender, *self.comparison.interleave}
        fixed = {name: values for name, values in self.axes.items() if name not in moving}
        for values in itertools.product(*fixed.values()):
            chosen = dict(zip(fixed, values, strict=True))
            rounds = tuple(
                tuple(self._round(chosen, number, seed, repetition))
                for number in range(self.rounds)
            )
            yield Cell(
                self.comparison.name, self.example.benchmark, chosen, rounds, seed, repetition
            )

    def _round(
        self, fixed: Mapping[str, Param], number: int, seed: int, repetition: int
    ) -> Iterator[Turn]:
        """Yield a round's samples in order."""
        for params, is_twin in self._order(fixed, number):
            case = Case(self.example.module, self.example.cls, self.example.method, params)
            yield Turn(case, number, is_twin, seed, repetition)

    def _order(
        self, fixed: Mapping[str, Param], number: int
    ) -> Iterator[tuple[dict[str, Param], bool]]:
        """Yield the parameters of a round's samples in order, and whether each is a twin."""
        if self.contender is None:
            yield {}, False
            return
        others = {
            name: values
            for name, values in self.axes.items()
            if name not in fixed and name != self.contender
        }
        order = [(value, False) for value in self.axes[self.contender]]
        order += [(value, True) for value in self.comparison.twins]
        for values in itertools.product(*others.values()):
            chosen = {**fixed, **dict(zip(others, values, strict=True))}
            for value, is_twin in reversed(order) if number % 2 else order:
                params = {**chosen, self.contender: value}
                yield {name: params[name] for name in self.axes}, is_twin


def _axes(
    comparison: Comparison,
    cls: type[Benchmark],
    own: Mapping[str, tuple[Param, ...]],
    where: str,
) -> dict[str, tuple[Param, ...]]:
    """Return the class's parameters with the comparison's values in place of its own."""
    for name, values in comparison.params.items():
        key = f"{where}.params.{name}"
        if name not in own:
            raise InputError(f"{key}: {cls.__name__} has no such parameter{nearest(name, own)}")
        if len({repr(value) for value in values}) != len(values):
            raise InputError(f"{key}: a value stands there twice")
        for value in values:
            _check_value(cls, name, value, own[name], key)
    return {name: tuple(comparison.params.get(name, values)) for name, values in own.items()}


def _check_value(
    cls: type[Benchmark], name: str, value: Param, known: Sequence[Param], key: str
) -> None:
    """Raise unless the value is of the class's type and, where its values are names, one of them.

    Numbers are free; so are names of a parameter that the class declares open, as far as the class
    accepts them.
    """
    kinds = {type(item) for item in known}
    if type(value) not in kinds:
        expected = " or ".join(sorted(kind.__name__ for kind in kinds))
        raise InputError(f"{key} = {value!r}: expected {expected}, such as {known[0]!r}")
    if value in known or not isinstance(value, str):
        return
    if name not in cls.open_params:
        raise InputError(
            f"{key} = {value!r}: expected one of {', '.join(map(str, known))}"
            f"{nearest(value, map(str, known))}"
        )
    try:
        cls.check_param(name, value)
    except InputError as error:
        raise InputError(f"{key}: {error}") from error


def _check_twins(
    comparison: Comparison, axes: Mapping[str, Sequence[Param]], contender: str | None, where: str
) -> None:
    if len({repr(value) for value in comparison.twins}) != len(comparison.twins):
        raise InputError(f"{where}.twins: a value stands there twice")
    for value in comparison.twins:
        if contender is None or value not in axes[contender]:
            raise InputError(f"{where}.twins: {value!r} is not among the contenders")


def _check_overlap(cells: Sequence[Cell], where: str) -> None:
    """Raise where a case stands in two comparisons: their samples could not be told apart."""
    owners: dict[str, str] = {}
    for cell in cells:
        for case in dict.fromkeys(turn.case.id for turn in cell.turns):
            other = owners.setdefault(case, cell.comparison)
            if other != cell.comparison:
                raise InputError(
                    f"{where}: {other} and {cell.comparison} both measure {case}; a case can be in "
                    "one comparison only"
                )
