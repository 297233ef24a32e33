"""Reads the harness's own records: a run's file, or samples that asv or pytest left in a file."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from harness.records import Record, Run, RunHeader, read_records, read_run
from harness.report.settings import setting_of_machine
from harness.report.table import Row, RunFacts

SHARED: Final = "experiment.json"
"""Marks a run's folder: its files of samples are of one experiment, code and machine."""

TWIN: Final = "twin"
"""Where in a record's extra `bench-core run` marks the second measurement of a case in a round."""

PHASES: Final = "phases"
"""Where in a record's extra a benchmark states the seconds of its sample's parts."""


def load_run(path: Path) -> tuple[RunFacts, list[Row]]:
    """Read a run's file.

    Raises:
        InputError: as `harness.records.read_run`.
    """
    run = read_run(path)
    facts = _facts(path, run)
    return facts, rows(run.records, facts)


def load_samples(path: Path) -> tuple[RunFacts, list[Row]]:
    """Read a file of samples without a run's header; nothing is known of their machine.

    Raises:
        InputError: as `harness.records.read_records`.
    """
    records = read_records(path)
    started = min((record.started_at for record in records), default="")
    note = f"{path}: no run's header, so machine, commit and limits are unknown"
    runner = records[0].runner if records else ""
    facts = RunFacts(path, path.stem, runner, "", {}, started_at=started, notes=(note,))
    return facts, rows(records, facts)


def rows(records: Sequence[Record], facts: RunFacts) -> list[Row]:
    """Return the table's rows of a run's records."""
    return [_row(record, facts) for record in records]


def noted(record: Record) -> Mapping[str, Any] | None:
    """Return what a benchmark noted beside its sample, without what the table has by itself."""
    return {name: v for name, v in record.extra.items() if name not in (TWIN, PHASES)} or None


def phases(record: Record) -> Mapping[str, float] | None:
    """Return name to seconds of a sample's parts, if the case noted them as ``phases``."""
    stated = record.extra.get(PHASES)
    if not isinstance(stated, Mapping):
        return None
    numbers = {str(name): value for name, value in stated.items() if isinstance(value, int | float)}
    return {name: float(value) for name, value in numbers.items()} or None


def _row(record: Record, facts: RunFacts) -> Row:
    cache = record.cache or {}
    row = Row(
        source=str(facts.source),
        run=facts.run,
        runner=record.runner,
        machine=facts.machine,
        code=facts.code,
        benchmark=record.benchmark,
        params=record.params,
        status=record.status,
        reason=record.reason or "",
        unit=record.unit,
        cache_state=str(cache.get("state", record.params.get("cache", ""))),
        round=record.round,
        seed=record.seed,
        repetition=record.repetition,
        process=record.process,
        turns=facts.run if record.runner == "run" else "",
        started_at=record.started_at,
        is_twin=bool(record.extra.get(TWIN)),
        n=0 if record.value is None else 1,
    )
    if record.status == "ok" and cache.get("proved") is False:
        row["status"] = "unproved"
        row["reason"] = str(cache.get("reason", "the cache state is not proved"))
    optional: dict[str, Any] = {
        "value": record.value,
        "return_seconds": record.return_seconds,
        "bytes": record.bytes,
        "ideal_seconds": record.ideal_seconds,
        "resident_before": cache.get("resident_before"),
        "read_bytes": cache.get("read_bytes", record.counters.get("read_bytes")),
        "phases": phases(record),
        "extra": noted(record),
    }
    row.update({name: value for name, value in optional.items() if value is not None})  # type: ignore[typeddict-item]
    return row


def _facts(path: Path, run: Run) -> RunFacts:
    header = run.header
    commit, dirty = commit_of(header.machine)
    return RunFacts(
        source=path,
        run=header.run_id,
        runner=header.runner,
        machine=header.machine_name,
        setting=setting_of_machine(header.machine_name, header.machine, header.settings),
        facts=header.machine,
        commit=commit,
        dirty=dirty,
        started_at=header.started_at,
        limits=run.limits,
        notes=run.notes,
        command=_command(header),
        chosen=header.settings,
        section=header.section or "",
        folder=path.parent if (path.parent / SHARED).exists() else None,
    )


def _command(header: RunHeader) -> str:
    """Return the command line that takes such a run again, or "" if no section was run."""
    if not header.section:
        return ""
    words = ["bench-core", "run", header.section]
    for option, name in (("--set", "set"), ("--only", "only")):
        words += [word for value in header.settings.get(name) or () for word in (option, value)]
    if header.settings.get("file"):
        words += ["--file", header.settings["file"]]
    return shlex.join(map(str, words))


def commit_of(machine: Mapping[str, Any]) -> tuple[str, bool]:
    """Return the commit that was measured, and whether the tree had changes beside it."""
    git = machine.get("git")
    if not isinstance(git, Mapping):
        return "", False
    return str(git.get("commit") or ""), bool(git.get("dirty"))
