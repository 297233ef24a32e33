"""The one schema of a result: a run's header, its samples and its limits, as JSON lines."""

from __future__ import annotations

import enum
import json
import math
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar

from harness.errors import InputError

# A file is one JSON object a line, each with "kind" (run, limits or sample) and "schema". The first
# line of a run is its header. A field that readers may leave out needs no new version, and readers
# ignore fields that they do not know; whatever changes the meaning of a field needs one.
#
# 1  first version: run, limits and sample lines.
SCHEMA_VERSION: Final = 1

Param = str | int | float | bool

STATUSES: Final = ("ok", "failed", "unproved", "skipped")
LIMITS_MOMENTS: Final = ("begin", "end", "round")


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
class Run:
    """A run's file, read."""

    header: RunHeader
    limits: tuple[LimitsLine, ...]
    records: tuple[Record, ...]
    notes: tuple[str, ...] = ()
    """What the reader left out, and why: a torn last line, lines of an unknown kind."""


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
        """Take over an open descriptor; use `create` or `resume` to get a writer."""
        self.path = path
        self._descriptor = descriptor

    @classmethod
    def create(cls, path: Path, header: RunHeader) -> RunWriter:
        """Begin a new file, whose folder is made if need be.

        Raises:
            InputError: the file exists: a run never overwrites another one.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
        except FileExistsError:
            raise InputError(f"{path} exists already; resume it or choose another name") from None
        writer = cls(path, descriptor)
        writer._line("run", header)
        return writer

    @classmethod
    def resume(cls, path: Path) -> RunWriter:
        """Go on with a run's file; a last line torn by a crash is cut off first.

        Raises:
            InputError: the file is missing, damaged elsewhere, or written by a newer version.
        """
        read_run(path)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
        data = path.read_bytes()
        if not data.endswith(b"\n"):
            whole = data.rfind(b"\n") + 1
            if _parse(data[whole:]) is None:
                os.ftruncate(descriptor, whole)
            else:
                os.write(descriptor, b"\n")
        return cls(path, descriptor)

    def sample(self, record: Record) -> None:
        """Append one sample."""
        self._line("sample", record)

    def limits(self, line: LimitsLine) -> None:
        """Append one probe of the machine's limits."""
        self._line("limits", line)

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

    def _line(self, kind: str, value: Record | RunHeader | LimitsLine) -> None:
        _write_whole(self._descriptor, _encode(kind, value))


def append_record(path: Path, record: Record) -> None:
    """Append one sample to a file that any number of processes may append to."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        _write_whole(descriptor, _encode("sample", record))
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
    for number, line in lines[1:]:
        where = f"{path}:{number}"
        kind = line.get("kind")
        if kind == "sample":
            records.append(record_from(line, where))
        elif kind == "limits":
            limits.append(_decode(LimitsLine, line, where))
        elif kind == "run":
            raise InputError(f"{where}: a second run's header; a file holds one run")
        else:
            notes.append(f"{where}: left out a line of unknown kind {kind!r}")
    return Run(header, tuple(limits), tuple(records), tuple(notes))


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
        line = _parse(text)
        if line is None and number == len(lines):
            notes.append(f"{path}:{number}: left out a last line that is not whole")
            return
        if line is None:
            raise InputError(f"{path}:{number}: not a JSON object; the file is damaged there")
        schema = line.get("schema")
        if not isinstance(schema, int):
            raise InputError(f"{path}:{number}: no schema number; this is not a file of records")
        if schema > SCHEMA_VERSION:
            raise InputError(
                f"{path}:{number}: written with schema {schema}, but this version of bench-core "
                f"reads up to {SCHEMA_VERSION}; use a newer bench-core"
            )
        yield number, line


def _parse(text: bytes) -> dict[str, Any] | None:
    """Return the JSON object in ``text``, or None if it is not one."""
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None


Line = TypeVar("Line", Record, RunHeader, LimitsLine)


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


def _encode(kind: str, value: Record | RunHeader | LimitsLine) -> bytes:
    """Return a line; a field that is None is left out, as readers take None for a missing one."""
    line: dict[str, Any] = {"kind": kind, "schema": SCHEMA_VERSION}
    for item in fields(value):
        content = _plain(getattr(value, item.name))
        if content is not None:
            line[item.name] = content
    return json.dumps(line, allow_nan=False).encode() + b"\n"


def _plain(value: Any) -> Any:
    """Return ``value`` as JSON types; infinities and NaN, which JSON lacks, become None."""
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return _plain(value.tolist())
    return str(value)


def _write_whole(descriptor: int, data: bytes) -> None:
    """Write all of ``data``; one call to the kernel unless the disk is nearly full."""
    while data:
        data = data[os.write(descriptor, data) :]
