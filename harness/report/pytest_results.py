"""Reads pytest-benchmark's JSON, of our own classes or of any other test suite.

Our plugin puts the harness's records into each benchmark's ``extra_info``; where there are none, a
sample is one of pytest-benchmark's rounds, or the whole case if the file was saved without data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from harness.records import Param, Record, record_from
from harness.report import fields, run_records
from harness.report.settings import setting_of_machine, setting_of_pytest
from harness.report.table import Row, RunFacts

RECORDS: Final = "records"
"""Where in ``extra_info`` the harness's plugin puts the records of a case."""


def is_result(content: Any) -> bool:
    """Return whether parsed JSON is a result of pytest-benchmark."""
    return isinstance(content, dict) and "benchmarks" in content and "machine_info" in content


def load_result(path: Path) -> tuple[RunFacts, list[Row]]:
    """Read one of pytest-benchmark's JSON files.

    Raises:
        InputError: it cannot be read or has another form; the text names file and field.
    """
    content = fields.as_mapping(fields.read_json(path), str(path))
    facts = _facts(path, content)
    rows: list[Row] = []
    for number, item in enumerate(fields.sequence(content, "benchmarks", str(path))):
        where = f"{path}: benchmarks[{number}]"
        rows.extend(_rows(fields.as_mapping(item, where), facts, where))
    return facts, rows


def _facts(path: Path, content: Mapping[str, Any]) -> RunFacts:
    info = fields.mapping(content, "machine_info", str(path))
    commit = fields.mapping(content, "commit_info", str(path))
    ours = fields.mapping(info, "bench_core", f"{path}: machine_info")
    machine = str(ours.get("name") or info.get("node", ""))
    started = fields.text(content, "datetime", str(path))
    identity = str(commit.get("id") or "")
    return RunFacts(
        source=path,
        run=f"{path.stem}@{started}",
        runner="pytest",
        machine=machine,
        setting=setting_of_machine(machine, ours, {}) if ours else setting_of_pytest(machine, info),
        facts=ours or info,
        commit="" if identity in ("unversioned", "unknown") else identity,
        dirty=bool(commit.get("dirty")),
        started_at=started,
        command="pytest benchmarks --benchmark-only --benchmark-json FILE" if ours else "",
    )


def _rows(item: Mapping[str, Any], facts: RunFacts, where: str) -> Iterator[Row]:
    extra = fields.mapping(item, "extra_info", where)
    records = extra.get(RECORDS)
    if records is not None:
        here = f"{where}: extra_info"
        lines = fields.sequence(extra, RECORDS, here)
        parsed = [_record(line, f"{here}.{RECORDS}[{number}]") for number, line in enumerate(lines)]
        yield from run_records.rows(parsed, facts)
        return
    yield from _foreign_rows(item, facts, where)


def _record(line: Any, where: str) -> Record:
    return record_from({"kind": "sample", **fields.as_mapping(line, where)}, where)


def _foreign_rows(item: Mapping[str, Any], facts: RunFacts, where: str) -> Iterator[Row]:
    """Yield the rows of a test that knows nothing of the harness."""
    stats = fields.mapping(item, "stats", where)
    moved = fields.mapping(item, "extra_info", where).get("bytes")
    row = Row(
        source=str(facts.source),
        run=facts.run,
        runner="pytest",
        machine=facts.machine,
        code=facts.code,
        benchmark=fields.text(item, "fullname", where).partition("[")[0],
        params=_params(item, where),
        status="ok",
        unit="seconds",
        started_at=facts.started_at,
    )
    if moved is not None:
        row["bytes"] = fields.as_number(moved, f"{where}: extra_info.bytes")
    if stats.get("data"):
        for number, value in enumerate(fields.sequence(stats, "data", f"{where}: stats")):
            yield row | {"value": fields.as_number(value, f"{where}: stats.data[{number}]"), "n": 1}
        return
    of = {name: fields.number(stats, name, f"{where}: stats") for name in ("median", "q1", "q3")}
    count = int(fields.number(stats, "rounds", f"{where}: stats"))
    yield row | {"value": of["median"], "q25": of["q1"], "q75": of["q3"], "n": count}


def _params(item: Mapping[str, Any], where: str) -> dict[str, Param]:
    """Return the test's parameters; one that is not a plain value is its text."""
    params = fields.mapping(item, "params", where)
    return {
        str(name): value if isinstance(value, str | int | float | bool) else str(value)
        for name, value in params.items()
    }
