"""The host's watcher: one drop for all requests that wait, an answer to each, a heartbeat."""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator

from prevent_caching.drop import boot_id
from prevent_caching.errors import DropRefused
from prevent_caching.exchange import (
    HEARTBEAT,
    HEARTBEAT_SECONDS,
    LEASE_SECONDS,
    Answer,
    GarbageError,
    Heartbeat,
    Request,
    answer_name,
    is_leftover,
    read_record,
    remove,
    request_identity,
    request_name,
    write_record,
)

log = logging.getLogger(__name__)

# Answers that nobody has fetched, and temporary files of the dead, are kept so long.
LEFTOVER_SECONDS = 60.0
# Requests looked at in one round: a flooded directory costs a bounded time.
MAX_REQUESTS = 256
# A drop under way is given so long to end when the watcher is told to stop.
STOP_SECONDS = 5.0


class Watcher:
    """Serves one directory until told to stop.

    The drop runs in a thread of its own, so that the heartbeat goes on while the kernel writes
    dirty pages, which can take minutes. Requests that come during a drop wait for the next: pages
    read since its start may have escaped it.
    """

    def __init__(
        self,
        directory: int,
        drop: Callable[[], object],
        *,
        level: int = 3,
        minimum_interval: float = 1.0,
    ) -> None:
        """Make a watcher.

        Args:
            directory: descriptor of the served directory (`open_trusted`).
            drop: drops the caches, or raises DropRefused.
            level: what `drop` drops, told in answers.
            minimum_interval: seconds from the end of one drop to the start of the next.
        """
        self._directory = directory
        self._drop = drop
        self._level = level
        self._minimum_interval = minimum_interval
        self._identity = secrets.token_hex(16)
        self._boot_id = boot_id()
        self._sequence = 0
        self._drops = 0
        self._worker: threading.Thread | None = None
        # Monotonic seconds of this process, except `_beat_modified`: the directory's clock.
        self._next_drop = self._next_beat = self._next_cleaning = self._beaten = time.monotonic()
        self._beat_modified = 0.0
        self._kept: set[str] = set()

    def serve(self, stop: threading.Event, poll_seconds: float = 0.05) -> None:
        """Serve until `stop` is set or the directory is removed; then take the heartbeat away."""
        try:
            while not stop.is_set() and os.fstat(self._directory).st_nlink:
                self.step()
                stop.wait(poll_seconds)
        finally:
            if self._worker is not None:
                self._worker.join(STOP_SECONDS)
            remove(self._directory, HEARTBEAT)

    def step(self) -> None:
        """Do what is due: a heartbeat, a cleaning, the start of a drop for those who wait."""
        now = time.monotonic()
        try:
            if now >= self._next_beat:
                self._beat(now)
            if now >= self._next_cleaning:
                self._clean(now)
            if not self._dropping() and now >= self._next_drop:
                self._start_drop()
        except OSError as error:
            # A full disk passes; without a heartbeat the requesters learn of it meanwhile.
            log.error("cannot serve: %s", error)

    def _dropping(self) -> bool:
        return self._worker is not None and self._worker.is_alive()

    def _beat(self, now: float) -> None:
        self._next_beat = now + HEARTBEAT_SECONDS
        self._sequence += 1
        heartbeat = Heartbeat(
            watcher=self._identity,
            pid=os.getpid(),
            boot_id=self._boot_id,
            sequence=self._sequence,
            state="dropping" if self._dropping() else "idle",
            level=self._level,
            drops=self._drops,
        )
        self._beat_modified = write_record(self._directory, HEARTBEAT, heartbeat)
        self._beaten = now

    def _directory_time(self) -> float:
        """Return now, in seconds on the clock that gives files their modification times."""
        return self._beat_modified + time.monotonic() - self._beaten

    def _clean(self, now: float) -> None:
        self._next_cleaning = now + LEFTOVER_SECONDS / 6
        oldest = self._directory_time() - LEFTOVER_SECONDS
        with os.scandir(self._directory) as entries:
            for entry in entries:
                if is_leftover(entry.name) and entry.stat(follow_symlinks=False).st_mtime < oldest:
                    remove(self._directory, entry.name)

    def _start_drop(self) -> None:
        requests = list(self._waiting())
        if requests:
            self._worker = threading.Thread(target=self._serve_all, args=[requests], daemon=True)
            self._worker.start()

    def _waiting(self) -> Iterator[Request]:
        """Yield the requests whose requester lives; remove the others without a drop."""
        for identity in self._request_identities():
            name = request_name(identity)
            try:
                request, modified = read_record(self._directory, name, Request)
            except FileNotFoundError:
                continue
            except GarbageError as error:
                self._discard(name, str(error))
                continue
            age = self._directory_time() - modified
            if request.identity != identity:
                self._discard(name, "names another request inside")
            elif age > LEASE_SECONDS:
                self._discard(name, f"has not been renewed by its requester for {age:.1f} s")
            else:
                yield request

    def _request_identities(self) -> list[str]:
        with os.scandir(self._directory) as entries:
            names = {entry.name for entry in entries}
        self._kept &= names
        found = (request_identity(name) for name in sorted(names - self._kept))
        return [identity for identity in found if identity is not None][:MAX_REQUESTS]

    def _discard(self, name: str, reason: str) -> None:
        log.warning("removed %s unanswered: it %s", name, reason)
        try:
            os.unlink(name, dir_fd=self._directory)
        except OSError as error:
            # A directory of that name, say: seen once, said once.
            log.warning("left %s: %s", name, error.strerror)
            self._kept.add(name)

    def _serve_all(self, requests: list[Request]) -> None:
        """Drop once and answer every request that waited before."""
        started = time.monotonic()
        status, reason = self._try_drop()
        seconds = time.monotonic() - started
        for request in requests:
            self._answer(
                Answer(request.identity, status, reason, seconds, self._level, self._boot_id)
            )
            log.info(
                "%s for process %d on %r: %s in %.2f s%s",
                request.identity[:8],
                request.pid,
                request.hostname[:64],
                status,
                seconds,
                f" ({reason})" if reason else "",
            )
        self._next_drop = time.monotonic() + self._minimum_interval

    def _try_drop(self) -> tuple[str, str]:
        try:
            self._drop()
        except DropRefused as error:
            return "refused", str(error)
        except Exception as error:
            # Whatever it is, those who wait must hear of it.
            return "error", f"{type(error).__name__}: {error}"
        self._drops += 1
        return "ok", ""

    def _answer(self, answer: Answer) -> None:
        try:
            write_record(self._directory, answer_name(answer.identity), answer)
        except OSError as error:
            log.error("cannot answer %s: %s", answer.identity[:8], error)
        # The answer first: a requester that finds its request gone looks for the answer.
        remove(self._directory, request_name(answer.identity))
