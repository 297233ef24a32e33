"""Published results: rows of a CSV file as samples of the same table as what was measured here."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from harness.errors import InputError, nearest
from harness.figure_spec import FigureSpec
from harness.records import Param
from harness.report.published_spec import DESCRIPTION, PublishedFigure, PublishedSet, read_set
from harness.report.table import PUBLISHED, Results, Row, RunFacts, samples_table

FOLDER: Final = Path(__file__).parents[2] / "results" / "published"
"""Where a checkout has a folder for each paper."""

SOURCE: Final = "source"
"""The column that every file must have: where each row's number was read."""


@dataclass(frozen=True)
class _Entry:
    """A figure with what belongs to it."""

    home: Path
    """The folder of its paper."""
    found: PublishedSet
    figure: PublishedFigure

    @property
    def name(self) -> str:
        return f"{self.section}/{self.figure.spec.name}"

    @property
    def section(self) -> str:
        # The folder may be given as ".", which has no name.
        return self.home.absolute().name

    @property
    def spec(self) -> FigureSpec:
        return self.found.drawn(self.figure)


def published_names(folder: Path = FOLDER) -> list[str]:
    """Return the names of all published figures, such as ``alsatian/fig10``.

    Raises:
        InputError: there is no such folder, or one of its descriptions is wrong.
    """
    return [entry.name for entry in _entries(folder)]


def load_published(name: str, folder: Path = FOLDER) -> tuple[FigureSpec, Results]:
    """Return how a published figure is drawn, and its numbers.

    Args:
        name: the folder of the paper and the figure, such as ``alsatian/fig10``.
        folder: where the papers' folders are.

    Raises:
        InputError: there is no such figure, or its description or CSV file is wrong.
    """
    known = {entry.name: entry for entry in _entries(folder)}
    if name not in known:
        hint = nearest(name, known) or f"; expected one of {', '.join(known)}"
        raise InputError(f"there is no published figure {name!r} in {folder}{hint}")
    entry = known[name]
    facts, rows = _load(entry, entry.home)
    samples = samples_table(rows).assign(setting=facts.machine)
    return entry.spec, Results(samples, (facts,), {facts.run: facts.machine})


def _entries(folder: Path) -> list[_Entry]:
    homes = sorted(path.parent for path in folder.glob(f"*/{DESCRIPTION}"))
    if not homes:
        raise InputError(
            f"{folder} holds no published results; a checkout of the project has them in "
            "results/published: name that folder by --published-dir"
        )
    return [entry for home in homes for entry in _entries_of(home)]


def _entries_of(home: Path) -> list[_Entry]:
    found = read_set(home)
    return [_Entry(home, found, figure) for figure in found.figures]


def is_set(folder: Path) -> bool:
    """Tell whether a folder holds published figures."""
    return (folder / DESCRIPTION).exists()


def figures_of(
    home: Path,
) -> Iterator[tuple[Path, Callable[[Path], tuple[RunFacts, list[Row]]]]]:
    """Yield, for each figure of a paper's folder, a path that names it and what loads it.

    Raises:
        InputError: the description is wrong.
    """
    for entry in _entries_of(home):
        yield home / entry.figure.spec.name, partial(_load, entry)


def _load(entry: _Entry, _: Path) -> tuple[RunFacts, list[Row]]:
    """Return a figure as a run of its own, which declares how it is drawn, and its rows."""
    paper, spec = entry.found.paper, entry.spec
    machine = f"published: {paper.short}"
    known = {"machine": machine, "cpu": paper.cpu, "device": paper.device}
    facts = RunFacts(
        source=entry.home,
        run=entry.name,
        runner=PUBLISHED,
        machine=machine,
        setting={name: value for name, value in known.items() if value},
        chosen={"title": paper.citation, "figures": [spec.model_dump(exclude_defaults=True)]},
        section=entry.section,
        quoted=f"{paper.authors}, {paper.short} (doi {paper.doi}), {entry.figure.caption}",
    )
    return facts, list(_rows(entry.home, entry.figure, facts))


@dataclass(frozen=True)
class _Line:
    """A row of the file, as text, and where it stands."""

    where: str
    cells: Mapping[str, str]

    def number(self, column: str) -> float:
        try:
            value = float(self.cells[column])
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            text = self.cells[column]
            raise InputError(f"{self.where}: {column}: found {text!r}, expected a number")
        return value

    def texts(self, columns: Sequence[str]) -> tuple[str, ...]:
        return tuple(self.cells[column] for column in columns)


def _rows(home: Path, figure: PublishedFigure, facts: RunFacts) -> Iterator[Row]:
    """Yield a row for each combination of parameters."""
    path = home / figure.file
    lines = _lines(path)
    _require_columns(home / DESCRIPTION, path, figure, lines[0])
    chosen = [
        line
        for line in lines
        if all(line.cells[name] in texts for name, texts in figure.where.items())
    ]
    where = f"{home / DESCRIPTION}: figures.{figure.spec.name}"
    if not chosen:
        raise InputError(f"{where}: where: no row of {figure.file} has it")
    for params, group in _by_params(figure, chosen):
        _require_once(where, figure, params, group)
        row = Row(
            source=str(path),
            run=facts.run,
            runner=PUBLISHED,
            machine=facts.machine,
            benchmark=facts.run.replace("/", "."),
            params=params,
            status="ok",
            value=group[0].number(figure.value),
            unit=figure.unit,
            extra=_extra(figure, group),
            n=1,
        )
        if figure.phases is not None:
            names = figure.phases
            row["phases"] = {line.cells[names.name]: line.number(names.seconds) for line in group}
        yield row


def _lines(path: Path) -> list[_Line]:
    """Read a CSV file, whose every row must say where it was read."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            lines = [_Line(f"{path}:{reader.line_num}", cells) for cells in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path} cannot be read: {reason}") from error
    if not lines:
        raise InputError(f"{path} has no rows")
    for line in lines:
        if None in line.cells or None in line.cells.values():
            raise InputError(f"{line.where}: has not as many cells as the heading")
        if not line.cells.get(SOURCE):
            raise InputError(f"{line.where}: no {SOURCE}: say where the row's number was read")
    return lines


def _require_columns(description: Path, path: Path, figure: PublishedFigure, line: _Line) -> None:
    for key, columns in figure.columns.items():
        for name in columns:
            if name not in line.cells:
                raise InputError(
                    f"{description}: figures.{figure.spec.name}.{key}: {path.name} has no column "
                    f"{name!r}{nearest(name, line.cells)}"
                )


def _by_params(
    figure: PublishedFigure, lines: Sequence[_Line]
) -> Iterator[tuple[dict[str, Param], list[_Line]]]:
    """Yield the parameters of each row of the table, and the lines of the file that it is from."""
    columns = {name: _typed(line.cells[name] for line in lines) for name in figure.parameters}
    for name, parts in figure.joined.items():
        columns[name] = [" ".join(line.texts(parts)) for line in lines]
    groups: dict[tuple[Param, ...], list[_Line]] = {}
    for line, *values in zip(lines, *columns.values(), strict=True):
        groups.setdefault(tuple(values), []).append(line)
    for values_of_group, group in groups.items():
        params = dict(zip(columns, values_of_group, strict=True))
        yield {name: value for name, value in params.items() if value != ""}, group


def _typed(texts: Iterator[str]) -> Sequence[Param]:
    """Return a column as whole numbers or numbers, if all of it that is not empty is that."""
    cells = list(texts)
    for kind in (int, float):
        try:
            return [kind(text) if text else "" for text in cells]
        except ValueError:
            continue
    return cells


def _require_once(
    where: str, figure: PublishedFigure, params: Mapping[str, Param], group: Sequence[_Line]
) -> None:
    """Raise if rows would be averaged that the figure cannot tell apart."""
    parts = [line.cells[figure.phases.name] if figure.phases else "" for line in group]
    if len(set(parts)) < len(parts) or len({line.cells[figure.value] for line in group}) > 1:
        shown = ", ".join(f"{name}={value}" for name, value in params.items())
        raise InputError(
            f"{where}: {len(parts)} rows of {figure.file} have {shown}: name what tells them "
            "apart in parameters, or select by where"
        )


def _extra(figure: PublishedFigure, group: Sequence[_Line]) -> dict[str, Param]:
    """Return what else the file says of a row of the table, such as a published speed-up."""
    used = {name for columns in figure.columns.values() for name in columns}
    first = group[0].cells
    shared = (name for name in first if all(line.cells[name] == first[name] for line in group))
    return {
        name: _typed(iter([first[name]]))[0] for name in shared if first[name] and name not in used
    }
