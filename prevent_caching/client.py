"""Ask for a drop of the page cache: directly where this process may, else of the host's watcher.

Example:
    >>> from prevent_caching.client import request_drop
    >>> result = request_drop(timeout=30.0)            # doctest: +SKIP
    >>> result.how                                     # doctest: +SKIP
    'direct'
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prevent_caching.drop import DROP_CACHES, boot_id, drop, may_drop
from prevent_caching.errors import DropRefused, require_linux
from prevent_caching.exchange import (
    HEARTBEAT,
    RENEW_SECONDS,
    Answer,
    GarbageError,
    Heartbeat,
    Request,
    answer_name,
    read_record,
    remove,
    request_name,
    write_record,
)
from prevent_caching.pulse import Pulse

DIRECTORY_VARIABLE = "PREVENT_CACHING_DIR"
_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class DropResult:
    """A drop that took place.

    Attributes:
        how: "direct" by this process, or by the "host"'s watcher.
        seconds: from the request to its answer.
        requested_id: the request's identity; empty for a direct drop.
        level: 1 the page cache, 3 also dentries and inodes.
        same_kernel: the watcher runs on this kernel; False in a virtual machine whose host
            dropped its own caches and not this guest's; None where that cannot be told.
    """

    how: Literal["direct", "host"]
    seconds: float
    requested_id: str
    level: int
    same_kernel: bool | None


def request_drop(
    directory: Path | None = None,
    timeout: float = 10.0,
    *,
    level: int = 3,
    control: Path = DROP_CACHES,
) -> DropResult:
    """Have the page cache dropped and wait until it is.

    Args:
        directory: where the host's watcher waits for requests. Without it this process drops the
            caches itself if it may, and otherwise asks in ``$PREVENT_CACHING_DIR``.
        timeout: seconds to wait for the watcher's answer; a direct drop is not limited.
        level: for a direct drop; the watcher's own level is its operator's choice.
        control: the kernel's control file.

    Raises:
        DropRefused: with what is wrong: no watcher, a dead one, one without permission, no answer.
        UnsupportedPlatformError: elsewhere than on Linux.
    """
    require_linux("dropping caches")
    if directory is None:
        if may_drop(control):
            return DropResult("direct", drop(level, control), "", level, True)
        directory = _configured_directory(control)
    return _ask(directory, timeout)


def _configured_directory(control: Path) -> Path:
    value = os.environ.get(DIRECTORY_VARIABLE)
    if not value:
        raise DropRefused(
            f"user {os.geteuid()} may not write {control} and no host watcher is named: run as "
            f"root, or start `python -m prevent_caching.host --dir D` on the host, mount D here "
            f"and set {DIRECTORY_VARIABLE}=D"
        )
    return Path(value)


def _ask(directory: Path, timeout: float) -> DropResult:
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise DropRefused(
            f"no host watcher: {directory} cannot be opened ({error.strerror}): start `python -m "
            f"prevent_caching.host --dir D` on the host and mount D as {directory}"
        ) from None
    try:
        return _Exchange(directory, descriptor, timeout).run()
    finally:
        os.close(descriptor)


class _Exchange:
    """One request: posted, renewed, answered or withdrawn."""

    def __init__(self, directory: Path, descriptor: int, timeout: float) -> None:
        self._directory = directory
        self._descriptor = descriptor
        self._timeout = timeout
        self._identity = secrets.token_hex(16)
        self._request = Request(self._identity, os.getpid(), socket.gethostname())
        self._started = time.monotonic()
        self._posted = 0.0

    def run(self) -> DropResult:
        """Return the result, or raise DropRefused; no file of this request stays behind."""
        pulse = self._first_pulse()
        try:
            while (answer := self._answer()) is None:
                now = time.monotonic()
                pulse.observe(self._heartbeat(), now)
                pulse.require_alive(now)
                if now - self._started > self._timeout:
                    raise DropRefused(f"no answer within {self._timeout:g} s: {pulse.describe()}")
                if now - self._posted > RENEW_SECONDS:
                    self._renew()
                time.sleep(_POLL_SECONDS)
        finally:
            remove(self._descriptor, request_name(self._identity))
            remove(self._descriptor, answer_name(self._identity))
        return self._result(answer)

    def _first_pulse(self) -> Pulse:
        """Post the request and judge the heartbeat by it: both times come from one clock."""
        found = self._heartbeat()
        if found is None:
            raise DropRefused(
                f"no host watcher: {self._directory} holds no heartbeat; start `python -m "
                "prevent_caching.host --dir D` on the host with the directory mounted here"
            )
        heartbeat, beaten = found
        age = max(0.0, self._post() - beaten)
        return Pulse(self._directory, heartbeat, age, self._started)

    def _post(self) -> float:
        try:
            modified = write_record(self._descriptor, request_name(self._identity), self._request)
        except OSError as error:
            raise DropRefused(
                f"user {os.geteuid()} cannot write a request into {self._directory} "
                f"({error.strerror}): let it write there, for example by group"
            ) from None
        self._posted = time.monotonic()
        return modified

    def _renew(self) -> None:
        """Show that the requester lives; post again what was removed without an answer."""
        try:
            os.utime(request_name(self._identity), dir_fd=self._descriptor)
            self._posted = time.monotonic()
        except FileNotFoundError:
            if self._answer() is None:
                self._post()

    def _heartbeat(self) -> tuple[Heartbeat, float] | None:
        try:
            return read_record(self._descriptor, HEARTBEAT, Heartbeat)
        except FileNotFoundError:
            return None
        except GarbageError as error:
            raise DropRefused(
                f"{self._directory / HEARTBEAT} {error}: not this watcher's"
            ) from None

    def _answer(self) -> Answer | None:
        name = answer_name(self._identity)
        try:
            return read_record(self._descriptor, name, Answer)[0]
        except FileNotFoundError:
            return None
        except GarbageError as error:
            raise DropRefused(f"{self._directory / name} {error}: not this watcher's") from None

    def _result(self, answer: Answer) -> DropResult:
        if answer.status != "ok":
            raise DropRefused(f"the host watcher of {self._directory}: {answer.reason}")
        mine = boot_id()
        same = answer.boot_id == mine if answer.boot_id and mine else None
        seconds = time.monotonic() - self._started
        return DropResult("host", seconds, self._identity, answer.level, same)
