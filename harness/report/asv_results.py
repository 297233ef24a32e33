"""Reads asv's results: one file a commit and environment, beside the list of benchmarks.

asv stores the samples only when asked (``--record-samples``); without them a case is one row that
stands for many samples. What asv itself would not show (results of another version of a benchmark)
is a row with status ``stale``.
"""

from __future__ import annotations

import ast
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from harness.asv_rounds import Round, read_rounds, rounds_of
from harness.errors import InputError
from harness.records import Param
from harness.report import fields
from harness.report.settings import setting_of_asv
from harness.report.table import STALE, Row, RunFacts, case_name

NO_RESULT: Final = "asv has n/a: the case was refused, or left out by asv's -b"
RESULTS_VERSION: Final = 2
"""The form of asv's result files that is read here, as asv 0.5 and later write it."""


@dataclass(frozen=True)
class KnownBenchmark:
    """What ``benchmarks.json`` tells about one benchmark."""

    version: str
    unit: str
    param_names: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """The columns of one benchmark in a result file; each list goes over all cases."""

    benchmark: str
    cases: tuple[dict[str, Param], ...]
    columns: Mapping[str, Any]
    where: str
    rounds: Mapping[str, Sequence[Round]]
    """Case to its rounds, where commits took turns."""

    def at(self, column: str, position: int) -> Any:
        """Return a case's value in a column, or None if the column has been left out."""
        values = self.columns.get(column)
        if values is None:
            return None
        if not isinstance(values, list) or len(values) != len(self.cases):
            raise fields.wrong(
                f"{self.where}.{column}", values, f"a list of {len(self.cases)} items, one a case"
            )
        return values[position]


def is_result(content: Any) -> bool:
    """Return whether parsed JSON is one of asv's result files."""
    return isinstance(content, dict) and "result_columns" in content


def result_files(folder: Path) -> list[Path]:
    """Return asv's result files in its results folder or in a machine's folder of it."""
    machines = [folder] if (folder / "machine.json").exists() else sorted(folder.iterdir())
    return [
        path
        for machine in machines
        if machine.is_dir()
        for path in sorted(machine.glob("*.json"))
        if path.name != "machine.json"
    ]


def load_result(path: Path) -> tuple[RunFacts, list[Row]]:
    """Read one of asv's result files.

    Raises:
        InputError: it cannot be read or has another form; the text names file and field.
    """
    content = fields.as_mapping(fields.read_json(path), str(path))
    version = content.get("version")
    if version != RESULTS_VERSION:
        raise InputError(f"{path}: version: found {version!r}, expected {RESULTS_VERSION}")
    known = _known_benchmarks(path.parent.parent / "benchmarks.json")
    facts = _facts(path, content, known)
    names = fields.sequence(content, "result_columns", str(path))
    results = fields.mapping(content, "results", str(path))
    rounds = read_rounds(path)
    rows = [
        row
        for benchmark, values in results.items()
        for row in _rows(_entry(benchmark, names, values, known, path, rounds), known, facts)
    ]
    return facts, rows


def _known_benchmarks(path: Path) -> dict[str, KnownBenchmark]:
    if not path.exists():
        return {}
    content = fields.as_mapping(fields.read_json(path), str(path))
    return {
        name: KnownBenchmark(
            version=fields.text(item, "version", f"{path}: {name}"),
            unit=str(item.get("unit", "seconds")),
            param_names=tuple(map(str, item.get("param_names", ()))),
        )
        for name, item in content.items()
        if isinstance(item, dict)
    }


def _facts(path: Path, content: Mapping[str, Any], known: Mapping[str, Any]) -> RunFacts:
    commit = fields.text(content, "commit_hash", str(path))
    params = fields.mapping(content, "params", str(path))
    machine = str(params.get("machine", path.parent.name))
    notes = () if known else (f"{path}: no benchmarks.json beside it, so parameters have no names",)
    return RunFacts(
        source=path,
        run=f"{machine}/{path.stem}",
        runner="asv",
        machine=machine,
        setting=setting_of_asv(machine, params, fields.mapping(content, "requirements", str(path))),
        facts=params,
        commit=commit,
        started_at=_time(content.get("date")),
        notes=notes,
        command=f"bench-core commits {commit[:10]}",
    )


def _entry(
    benchmark: str,
    names: Sequence[str],
    values: Any,
    known: Mapping[str, KnownBenchmark],
    path: Path,
    rounds: Mapping[str, Sequence[Round]],
) -> Entry:
    where = f"{path}: results.{benchmark}"
    if not isinstance(values, list):
        raise fields.wrong(where, values, "a list")
    columns = dict(zip(names, values, strict=False))  # asv leaves out nulls at the end
    axes = columns.get("params") or []
    labels = known[benchmark].param_names if benchmark in known else ()
    cases = tuple(_case(labels, combination) for combination in itertools.product(*axes))
    return Entry(benchmark, cases, columns, where, rounds)


def _case(labels: Sequence[str], values: Sequence[str]) -> dict[str, Param]:
    unnamed = [f"param{position + 1}" for position in range(len(labels), len(values))]
    return dict(zip([*labels, *unnamed], map(_parameter, values), strict=False))


def _parameter(text: str) -> Param:
    """Return the value whose repr asv stored."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return value if isinstance(value, str | int | float | bool) else text


def _rows(entry: Entry, known: Mapping[str, KnownBenchmark], facts: RunFacts) -> Iterator[Row]:
    benchmark = known.get(entry.benchmark)
    version = str(entry.columns.get("version") or "")
    for position, params in enumerate(entry.cases):
        row = Row(
            source=str(facts.source),
            run=facts.run,
            runner="asv",
            machine=facts.machine,
            code=facts.code,
            benchmark=entry.benchmark,
            params=params,
            unit=benchmark.unit if benchmark else "seconds",
            cache_state=str(params.get("cache", "")),
            started_at=_time(entry.columns.get("started_at")) or facts.started_at,
        )
        if benchmark and version and version != benchmark.version:
            row["reason"] = (
                f"measured with version {version[:10]} of the benchmark; it now has "
                f"{benchmark.version[:10]}"
            )
            yield row | {"status": STALE, "n": 0}
        else:
            yield from _case_rows(row, entry, position)


def _case_rows(row: Row, entry: Entry, position: int) -> Iterator[Row]:
    """Yield a row a sample where asv stored samples, else one row for all of them."""
    result = entry.at("result", position)
    if result is None:
        yield row | {"status": "failed", "reason": "asv recorded a failure", "n": 0}
    elif math.isnan(fields.as_number(result, f"{entry.where}.result")):
        yield row | {"status": "skipped", "reason": NO_RESULT, "n": 0}
    elif samples := entry.at("samples", position):
        rounds = _round_of_each(entry, position, len(samples))
        for value, (turns, number) in zip(samples, rounds, strict=True):
            seconds = fields.as_number(value, f"{entry.where}.samples")
            sample = Row(status="ok", value=seconds, n=1, turns=turns)
            yield row | sample | (Row() if number is None else Row(round=number))
    else:
        yield row | {"status": "ok", "value": float(result), **_stats(entry, position)}


def _round_of_each(entry: Entry, position: int, samples: int) -> Iterator[tuple[str, int | None]]:
    """Yield what took turns and the round's number of each sample, in asv's order."""
    known = entry.rounds.get(case_name(entry.benchmark, entry.cases[position]))
    if known is None:
        yield from [("", None)] * samples
        return
    for item in rounds_of(known, samples):
        # Numbers below 0 are no loop's: what nothing took turns with is a group of its own.
        number = item.number if item.is_interleaved else -1 - item.number
        yield from [(item.loop, number)] * item.samples


def _stats(entry: Entry, position: int) -> Row:
    stats = Row(n=int(entry.at("stats_repeat", position) or 1))
    columns = {
        "q25": "stats_q_25",
        "q75": "stats_q_75",
        "low": "stats_ci_99_a",
        "high": "stats_ci_99_b",
    }
    for name, column in columns.items():
        value = entry.at(column, position)
        if value is not None:
            stats[name] = fields.as_number(value, f"{entry.where}.{column}")  # type: ignore[literal-required]
    return stats


def _time(milliseconds: Any) -> str:
    """Return JavaScript's milliseconds as ISO 8601 in UTC."""
    if not isinstance(milliseconds, int | float):
        return ""
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc).isoformat(timespec="seconds")
