"""From a section to the order of its samples: cases of each comparison, interleaved in rounds."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from harness import discovery
from harness.benchmark import Benchmark
from harness.discovery import Case
from harness.errors import InputError, nearest
from harness.experiments.sections import Comparison, Section
from harness.records import Param, Record

TWIN: Final = "twin"
"""Key in a record's extra: a sample of a contender measured a second time in its round."""

TurnKey = tuple[str, int, bool]


@dataclass(frozen=True)
class Turn:
    """One sample to be taken."""

    case: Case
    round: int
    is_twin: bool = False

    @property
    def key(self) -> TurnKey:
        """What identifies the sample in its run."""
        return self.case.id, self.round, self.is_twin


@dataclass(frozen=True)
class Group:
    """The samples of one comparison, which one process takes in this order."""

    name: str
    rounds: tuple[tuple[Turn, ...], ...]

    @property
    def turns(self) -> list[Turn]:
        """All samples, in order."""
        return [turn for turns in self.rounds for turn in turns]


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


def plan(section: Section, package: str | Path = "benchmarks", where: str = "") -> list[Group]:
    """Return the section's samples, a group for each comparison.

    In each round, the contenders of every combination of the other parameters run one after the
    other, forward in even rounds and backward in odd ones: drift hits all of them alike. A twin
    runs at the other end of its round.

    Raises:
        InputError: an unknown benchmark, parameter or value; the text names it and the nearest
            that exists.
    """
    examples = _examples(package)
    groups = [
        _group(comparison, section.rounds, examples, f"{where}{': ' if where else ''}")
        for comparison in section.comparisons
    ]
    _check_overlap(groups, where)
    return groups


def remaining(groups: Sequence[Group], records: Iterable[Record]) -> list[Group]:
    """Return what is left to do beside these samples; a case that was skipped stays skipped."""
    taken = list(records)
    done = {key_of(record) for record in taken}
    skipped = {case_id(record) for record in taken if record.status == "skipped"}
    return [
        Group(
            group.name,
            tuple(
                tuple(t for t in turns if t.key not in done and t.case.id not in skipped)
                for turns in group.rounds
            ),
        )
        for group in groups
    ]


def case_id(record: Record) -> str:
    """Return ``module.Class.method('value', 3)`` of a record, which is `Case.id`."""
    values = ", ".join(map(repr, record.params.values()))
    return f"{record.benchmark}({values})" if record.params else record.benchmark


def key_of(record: Record) -> TurnKey:
    """Return the `Turn.key` that a record belongs to."""
    return case_id(record), record.round, bool(record.extra.get(TWIN))


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


def _group(comparison: Comparison, rounds: int, examples: Mapping[str, Case], where: str) -> Group:
    cls = _class_of(comparison, examples, where)
    own = discovery.parameter_axes(cls)
    where = f"{where}{comparison.name}"
    axes = _axes(comparison, cls, own, where)
    contender = comparison.contender or next(iter(axes), None)
    if contender is not None and contender not in axes:
        raise InputError(
            f"{where}.contender = {contender!r}: no such parameter{nearest(contender, axes)}"
        )
    _check_twins(comparison, axes, contender, where)
    example = examples[comparison.benchmark]
    return Group(
        comparison.name,
        tuple(
            tuple(
                Turn(Case(example.module, cls, example.method, params), number, is_twin)
                for params, is_twin in _round(axes, contender, comparison.twins, number)
            )
            for number in range(comparison.rounds or rounds)
        ),
    )


def _round(
    axes: Mapping[str, Sequence[Param]], contender: str | None, twins: Sequence[Any], number: int
) -> Iterator[tuple[dict[str, Param], bool]]:
    """Yield the parameters of a round's samples in order, and whether each is a twin."""
    if contender is None:
        yield {}, False
        return
    others = {name: values for name, values in axes.items() if name != contender}
    for values in itertools.product(*others.values()):
        fixed = dict(zip(others, values, strict=True))
        order = [(value, False) for value in axes[contender]]
        order += [(value, True) for value in twins]
        for value, is_twin in reversed(order) if number % 2 else order:
            chosen = {**fixed, contender: value}
            yield {name: chosen[name] for name in axes}, is_twin


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
    for value in comparison.twins:
        if contender is None or value not in axes[contender]:
            raise InputError(f"{where}.twins: {value!r} is not among the contenders")


def _check_overlap(groups: Sequence[Group], where: str) -> None:
    """Raise where a case stands in two comparisons: their samples could not be told apart."""
    owners: dict[str, str] = {}
    for group in groups:
        for case in dict.fromkeys(turn.case.id for turn in group.turns):
            other = owners.setdefault(case, group.name)
            if other != group.name:
                raise InputError(
                    f"{where}: {other} and {group.name} both measure {case}; a case can be in one "
                    "comparison only"
                )
