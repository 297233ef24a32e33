"""Whether the host's watcher lives, told from its heartbeats by the requester's own clock."""

from __future__ import annotations

from pathlib import Path

from prevent_caching.errors import DropRefused
from prevent_caching.exchange import DEAD_SECONDS, HEARTBEAT_SECONDS, Heartbeat

# Before a heartbeat that looks old is called dead, it gets the time of two beats.
BENEFIT_OF_DOUBT_SECONDS = 2 * HEARTBEAT_SECONDS


class Pulse:
    """The last heartbeat seen, and when the watcher counts as dead."""

    def __init__(self, directory: Path, heartbeat: Heartbeat, age: float, now: float) -> None:
        """Start from a heartbeat that is `age` seconds old at monotonic time `now`."""
        self._directory = directory
        self._heartbeat = heartbeat
        self._present = True
        self._last_beat = now - age
        self._deadline = max(self._last_beat + DEAD_SECONDS, now + BENEFIT_OF_DOUBT_SECONDS)

    def observe(self, found: tuple[Heartbeat, float] | None, now: float) -> None:
        """Take note of the heartbeat as it is now; None when the file is gone."""
        self._present = found is not None
        if found is None:
            return
        before, self._heartbeat = self._heartbeat, found[0]
        if (before.watcher, before.sequence) != (found[0].watcher, found[0].sequence):
            self._last_beat = now
            self._deadline = now + DEAD_SECONDS

    def require_alive(self, now: float) -> None:
        """Raise DropRefused when the heartbeat has stopped for longer than a watcher may pause."""
        if now <= self._deadline:
            return
        if not self._present:
            raise DropRefused(
                f"the watcher of {self._directory} stopped before it answered: process "
                f"{self._heartbeat.pid} took its heartbeat away"
            )
        raise DropRefused(
            f"the watcher of {self._directory} is dead: the heartbeat of process "
            f"{self._heartbeat.pid} stopped {now - self._last_beat:.1f} s ago; start it again"
        )

    def describe(self) -> str:
        """Return what the watcher was last seen doing."""
        if self._heartbeat.state == "dropping":
            doing = "still writing dirty pages or dropping; wait longer"
        else:
            doing = "idle; it does not see this request, or waits out its interval between drops"
        return f"the watcher of {self._directory} (process {self._heartbeat.pid}) is {doing}"
