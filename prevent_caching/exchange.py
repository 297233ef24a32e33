"""The files that requester and watcher exchange in one directory, and how they are read safely.

A requester writes ``request-<id>.json`` and renews its modification time while it waits. The
watcher drops the caches once for all requests that wait, writes ``answer-<id>.json`` and removes
the request. It replaces ``heartbeat.json`` every second.

No wall clocks are compared: ages are differences of modification times that one file system gave.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import stat
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

VERSION = 1
HEARTBEAT = "heartbeat.json"
MAX_BYTES = 4096
HEARTBEAT_SECONDS = 1.0
RENEW_SECONDS = 0.5
# A request not renewed for so long has no requester any more.
LEASE_SECONDS = 3.0
# A heartbeat not replaced for so long has no watcher any more.
DEAD_SECONDS = 5.0

_REQUEST_NAME = re.compile(r"request-([0-9a-f]{32})\.json")
_ANSWER_NAME = re.compile(r"answer-[0-9a-f]{32}\.json")
_TEMPORARY_NAME = re.compile(r"\.(request|answer|heartbeat)[0-9a-f.-]*json\.[0-9a-f]{8}\.tmp")
_JSON_TYPES = {"str": (str,), "int": (int,), "float": (int, float)}


class GarbageError(ValueError):
    """A file in the directory is not what its name says; the text never quotes its content."""


@dataclass(frozen=True)
class Request:
    """A requester's wish; `pid` and `hostname` are as it sees itself, for the log only."""

    identity: str
    pid: int
    hostname: str


@dataclass(frozen=True)
class Answer:
    """What became of a request: `status` is ok, refused or error; `seconds` is the drop's own."""

    identity: str
    status: str
    reason: str
    seconds: float
    level: int
    boot_id: str


@dataclass(frozen=True)
class Heartbeat:
    """A sign of life: `sequence` grows by one each time, `state` is idle or dropping."""

    watcher: str
    pid: int
    boot_id: str
    sequence: int
    state: str
    level: int
    drops: int


Record = TypeVar("Record", Request, Answer, Heartbeat)


def request_name(identity: str) -> str:
    """Return the file name of a request; `identity` is 32 hexadecimal digits."""
    return f"request-{identity}.json"


def answer_name(identity: str) -> str:
    """Return the file name of the answer to a request."""
    return f"answer-{identity}.json"


def request_identity(name: str) -> str | None:
    """Return the identity in a request's file name, or None for another file."""
    match = _REQUEST_NAME.fullmatch(name)
    return match[1] if match else None


def is_leftover(name: str) -> bool:
    """Return whether a file of this name may be removed when nobody has touched it for long."""
    return bool(_ANSWER_NAME.fullmatch(name) or _TEMPORARY_NAME.fullmatch(name))


def write_record(directory: int, name: str, record: Request | Answer | Heartbeat) -> float:
    """Write `record` so that it appears whole or not at all; return its modification time.

    Args:
        directory: descriptor of the directory.
        name: file name in it; a file or link of that name is replaced, not followed.
        record: what to write.

    Returns:
        Seconds on the clock of the directory's file system.
    """
    temporary = f".{name}.{secrets.token_hex(4)}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600, dir_fd=directory)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(json.dumps({"version": VERSION, **asdict(record)}).encode())
            file.flush()
            # Requester and watcher may be different users, whatever the umask.
            os.fchmod(descriptor, 0o644)
            modified = os.fstat(descriptor).st_mtime
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        remove(directory, temporary)
        raise
    return modified


def read_record(directory: int, name: str, kind: type[Record]) -> tuple[Record, float]:
    """Return the record in file `name` and its modification time.

    Raises:
        FileNotFoundError: no such file.
        GarbageError: a link, no regular file, too large, or not a record of this kind.
    """
    payload, modified = _read(directory, name)
    return _decode(kind, payload), modified


def remove(directory: int, name: str) -> None:
    """Remove file `name`; one that is gone, or that this process may not remove, is left."""
    with contextlib.suppress(OSError):
        os.unlink(name, dir_fd=directory)


def _read(directory: int, name: str) -> tuple[bytes, float]:
    # O_NONBLOCK: a FIFO of that name must not stop the reader.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, dir_fd=directory)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise GarbageError(f"cannot be opened as a plain file ({error.strerror})") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise GarbageError("is not a regular file")
        payload = os.read(descriptor, MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(payload) > MAX_BYTES:
        raise GarbageError(f"is larger than {MAX_BYTES} bytes")
    return payload, status.st_mtime


def _decode(kind: type[Record], payload: bytes) -> Record:
    try:
        values = json.loads(payload)
    except (ValueError, RecursionError):
        raise GarbageError("is not JSON") from None
    if not isinstance(values, dict):
        raise GarbageError("is not a JSON object")
    if values.get("version") != VERSION:
        raise GarbageError(f"is not of protocol version {VERSION}")
    known: dict[str, Any] = {field.name: values.get(field.name) for field in fields(kind)}
    for field in fields(kind):
        value = known[field.name]
        if isinstance(value, bool) or not isinstance(value, _JSON_TYPES[str(field.type)]):
            raise GarbageError(f"has no {field.type} {field.name!r}")
    return kind(**known)
