"""The one schema of a result: a run's header, its cells, samples and limits, as JSON lines."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar

from harness.errors import InputError
from harness.record_lines import DamagedLineError, encode, parse

Param = str | int | float | bool

STATUSES: Final = ("ok", "failed", "unproved", "skipped")


@dataclass(frozen=True)
class Record:
    """One sample of one case, or the reason why there is none."""

    benchmark: str
    """``module.Class.method``, as asv names it."""
    params: Mapping[str, Param]
    """Parameter name to value, in the class's own order."""
    status: str = "ok"
    """``ok``, ``failed`` (wrong answer or error), ``unproved`` (cold not proved) or ``skipped``."""
    reason: str | None = None
    """Why the status is not ``ok``, or a note on the sample."""
    value: float | None = None
    """What the runner measured, in `unit`: seconds for ``time_`` methods."""
    unit: str = "seconds"
    return_seconds: float | None = None
    """For writes: when the call returned, before the durability point."""
    bytes: int | None = None
    """Bytes that the operation had to move; bytes / value is its throughput."""
    ideal_seconds: float | None = None
    """What the machine's limits allow for this case."""
    cache: Mapping[str, Any] | None = None
    """State asked for and its proof, as `harness.cache.CacheProof.as_dict` gives it."""
    counters: Mapping[str, float] = field(default_factory=dict)
    """Differences over the sample: ``read_bytes, write_bytes, rchar, wchar, minor_faults, …``."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Phases and whatever else the case states about this sample."""
    runner: str = "run"
    """``run``, ``pytest`` or ``asv``."""
    round: int = 0
    process: int = 0
    """Process id of the sample: samples of one process are not independent."""
    started_at: str = ""
    """UTC, ISO 8601."""
    cell: str = ""
    """The cell of the experiment's grid that the sample belongs to; see
    `harness.experiments.plan.Cell`."""
    seed: int = 0
    """Of the inputs."""
    repetition: int = 0
    """How many times the cell had been measured before, each time in a process of its own."""


@dataclass(frozen=True)
class RunHeader:
    """What all samples of one run share."""

    run_id: str
    """Unique and sortable by time; see `new_run_id`."""
    started_at: str
    """UTC, ISO 8601."""
    machine_name: str
    """The machine's folder name, as `harness.machine.machine_name` gives it."""
    machine: Mapping[str, Any]
    """The machine, as `harness.machine.describe` gives it."""
    runner: str = "run"
    """``run``, ``pytest`` or ``asv``."""
    section: str | None = None
    """The experiment's section, if the run belongs to one."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Everything chosen for the run: seed, rounds, selections, data folder's file system, …"""


@dataclass(frozen=True)
class LimitsLine:
    """The machine's limits as probed at one moment of the run."""

    when: str
    """``begin``, ``end`` or ``round``."""
    limits: Mapping[str, Any]
    """`harness.limits.Limits.as_dict`."""
    round: int | None = None
    """Which round, where ``when`` is ``round``."""
    taken_at: str = ""
    """UTC, ISO 8601."""


@dataclass(frozen=True)
class CellLine:
    """A process began or ended to take the samples of a cell."""

    cell: str
    event: str
    """``begin`` or ``end``."""
    comparison: str = ""
    label: str = ""
    """The cell's parameters as people read them."""
    at: str = ""
    """UTC, ISO 8601."""


@dataclass(frozen=True)
class Run:
    """A run's file, read."""

    header: RunHeader
    limits: tuple[LimitsLine, ...]
    records: tuple[Record, ...]
    notes: tuple[str, ...] = ()
    """What the reader left out, and why: a torn last line, lines of an unknown kind."""
    cells: tuple[CellLine, ...] = ()


def utc_now() -> str:
    """Return the time of day in UTC, ISO 8601 with milliseconds."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def new_run_id() -> str:
    """Return a run id: UTC time to the second, then four random hexadecimal digits."""
    return f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


class RunWriter:
    """Appends the lines of one run to its file; each line is in the file when a call returns.

    Example:
        >>> with RunWriter.create(path, header) as writer:  # doctest: +SKIP
        ...     writer.sample(record)
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        """Take over an open descriptor; use `create` to get a writer."""
        self.path = path
        self._descriptor = descriptor

    @classmethod
    def create(cls, path: Path, header: RunHeader) -> RunWriter:
        """Begin a new file, whose folder is made if need be.

        Raises:
            InputError: the file exists (a run never overwrites another one), or cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
        except OSError as error:
            reason = "exists already; choose another name"
            if not path.exists():
                reason = f"cannot be made: {error.strerror}"
            raise InputError(f"{path} {reason}") from error
        writer = cls(path, descriptor)
        try:
            writer._line("run", header)
        except BaseException:
            # A file without a header is nothing that can be read.
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        return writer

    def sample(self, record: Record) -> None:
        """Append one sample."""
        self._line("sample", record)

    def limits(self, line: LimitsLine) -> None:
        """Append one probe of the machine's limits."""
        self._line("limits", line)

    def cell(self, line: CellLine) -> None:
        """Append that a cell was begun or ended; what ended is durable when this returns."""
        self._line("cell", line)
        if line.event == "end":
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Make the file durable and close it."""
        os.fsync(self._descriptor)
        os.close(self._descriptor)

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _line(self, kind: str, value: Record | RunHeader | LimitsLine | CellLine) -> None:
        try:
            _write_whole(self._descriptor, encode(kind, value))
        except OSError as error:
            raise InputError(
                f"{self.path} cannot be written: {error.strerror}; what was measured before is "
                "kept: make room and run the same command again"
            ) from error


def append_record(path: Path, record: Record) -> None:
    """Append one sample to a file that any number of processes may append to."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        _write_whole(descriptor, encode("sample", record))
    finally:
        os.close(descriptor)


def read_run(path: Path) -> Run:
    """Read a run's file.

    A last line that a crash tore is left out and noted.

    Raises:
        InputError: the file is missing, empty, does not begin with a run's header, was written by
            a newer version, or has a damaged line; the text names the file and the line.
    """
    notes: list[str] = []
    lines = list(_lines(path, notes))
    if not lines or lines[0][1].get("kind") != "run":
        raise InputError(f"{path} does not begin with a run's header; it is not a run's file")
    header = _decode(RunHeader, lines[0][1], f"{path}:1")
    limits: list[LimitsLine] = []
    records: list[Record] = []
    cells: list[CellLine] = []
    for number, line in lines[1:]:
        where = f"{path}:{number}"
        kind = line.get("kind")
        if kind == "sample":
            records.append(record_from(line, where))
        elif kind == "limits":
            limits.append(_decode(LimitsLine, line, where))
        elif kind == "cell":
            cells.append(cell_line_from(line, where))
        elif kind == "run":
            raise InputError(f"{where}: a second run's header; a file holds one run")
        else:
            notes.append(f"{where}: left out a line of unknown kind {kind!r}")
    return Run(header, tuple(limits), tuple(records), tuple(notes), tuple(cells))


def read_records(path: Path) -> tuple[Record, ...]:
    """Read the samples of a file, with or without a run's header (`append_record` writes none).

    Raises:
        InputError: as `read_run`.
    """
    return tuple(
        record_from(line, f"{path}:{number}")
        for number, line in _lines(path, [])
        if line.get("kind") == "sample"
    )


def _lines(path: Path, notes: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number and the object of each whole line; a torn last one goes to ``notes``."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    lines = data.split(b"\n")
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            yield number, parse(text)
        except DamagedLineError as error:
            if number < len(lines) or error.is_whole:
                raise InputError(f"{path}:{number}: {error}") from None
            notes.append(f"{path}:{number}: left out a last line that is not whole")


Line = TypeVar("Line", Record, RunHeader, LimitsLine, CellLine)


def _decode(cls: type[Line], line: Mapping[str, Any], where: str) -> Line:
    """Build a dataclass from a line's object, ignoring fields that this version does not know."""
    known = {item.name for item in fields(cls)}
    try:
        return cls(**{name: value for name, value in line.items() if name in known})
    except TypeError as error:
        raise InputError(f"{where}: a {line.get('kind')} line lacks fields: {error}") from error


def record_from(line: Mapping[str, Any], where: str) -> Record:
    """Build a sample from its parsed line, or from `dataclasses.asdict` of one.

    Raises:
        InputError: a field is missing or the status is unknown; the text begins with ``where``.
    """
    record = _decode(Record, line, where)
    if record.status not in STATUSES:
        raise InputError(f"{where}: status {record.status!r} is not one of {', '.join(STATUSES)}")
    return record


def cell_line_from(line: Mapping[str, Any], where: str) -> CellLine:
    """Build a cell's line from its parsed line.

    Raises:
        InputError: a field is missing; the text begins with ``where``.
    """
    return _decode(CellLine, line, where)


def _write_whole(descriptor: int, data: bytes) -> None:
    """Write all of ``data``; one call to the kernel unless the disk is nearly full."""
    while data:
        data = data[os.write(descriptor, data) :]
