"""Limit the bandwidth of one block device for a process tree, and check that the limit holds.

Through cgroup v2 ``io.max`` or v1 ``blkio.throttle``, whichever this kernel has. Reads are limited
where they reach the device: what the page cache answers is not, so drop it first. Writes: direct
and synchronous ones; buffered writes only under v2 with the memory controller beside it (ext4, xfs,
btrfs), because under v1 the kernel writes such pages from outside the cgroup.

Example:
    >>> with limited(Path("/data"), read_bps=parse_rate("100MB/s")):  # doctest: +SKIP
    ...     run_the_search()
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from prevent_caching import cgroup as cgroups
from prevent_caching.block_device import block_device, device_node
from prevent_caching.direct_io import Direction, Plan, bandwidth, plan_for, scratch_file
from prevent_caching.errors import LimitRefused
from prevent_caching.rates import format_rate, parse_rate

__all__ = [
    "Check",
    "Limit",
    "check",
    "docker_flags",
    "format_rate",
    "limited",
    "parse_rate",
    "verify",
]

# The kernel grants by slices of 100 ms: a measurement of some slices comes within a few percent.
TOLERANCE = 0.15
_FREE_ATTEMPTS = 3


@dataclass(frozen=True)
class Limit:
    """A limit that is in force.

    Attributes:
        device: ``major:minor`` of the whole disk.
        read_bps: bytes per second, None where reads are free.
        write_bps: bytes per second, None where writes are free.
        cgroup: the directory of the limited cgroup.
        version: of cgroups, 1 or 2.
    """

    device: str
    read_bps: int | None
    write_bps: int | None
    cgroup: Path
    version: int


@dataclass(frozen=True)
class Check:
    """One direction of a limit, measured; all in bytes per second."""

    direction: Direction
    limit: int
    before: float
    under: float
    after: float

    @property
    def problem(self) -> str | None:
        """What is wrong, in one line; None when the limit was set, held and was lifted."""
        least = self.limit * (1 + TOLERANCE)
        if self.before < least:
            return (
                f"the device gives {format_rate(self.before)} to {self.direction}s without a "
                f"limit: one of {format_rate(self.limit)} cannot be seen to hold"
            )
        if self.under > least:
            return f"{self.direction}s ran at {format_rate(self.under)} under the limit"
        if self.after < least:
            return f"{self.direction}s ran at {format_rate(self.after)} after the limit was lifted"
        return None


@contextlib.contextmanager
def limited(
    path_or_device: Path | str,
    read_bps: int | None = None,
    write_bps: int | None = None,
    *,
    pid: int | None = None,
    hierarchy: cgroups.Hierarchy | None = None,
) -> Iterator[Limit]:
    """Limit a device for a process, its descendants and all that they start meanwhile.

    On leaving, also by an exception, the processes go back to where they were and the cgroup is
    removed. A killed caller leaves it; the next call removes what no process is in any more.

    Args:
        path_or_device: a path on the device, its device file, or its ``major:minor``.
        read_bps: bytes per second, None for no limit.
        write_bps: bytes per second, None for no limit.
        pid: the root of the process tree; this process by default.
        hierarchy: found by itself by default.

    Raises:
        LimitRefused: nothing to limit, no cgroups, or no permission; nothing is left behind.
        PreventCachingError: no block device is behind the path.
    """
    _require_rates(read_bps, write_bps)
    number = device_number(path_or_device)
    hierarchy = hierarchy or cgroups.find_hierarchy()
    pid = os.getpid() if pid is None else pid
    home = hierarchy.cgroup_of(pid)
    directory = cgroups.create(hierarchy, pid)
    limit = Limit(number, read_bps, write_bps, directory, hierarchy.version)
    origins: dict[int, Path] = {}
    try:
        _throttle(limit, read_bps, write_bps)
        _move_tree(pid, hierarchy, directory, origins)
        yield limit
    finally:
        with contextlib.suppress(LimitRefused):
            _throttle(limit, None, None)
        cgroups.remove(directory, origins, home)


def docker_flags(
    path_or_device: Path | str, read_bps: int | None = None, write_bps: int | None = None
) -> list[str]:
    """Return the flags of ``docker run`` that limit a whole container in the same way."""
    node = device_node(device_number(path_or_device))
    rates = {"read": read_bps, "write": write_bps}
    return [f"--device-{name}-bps={node}:{rate}" for name, rate in rates.items() if rate]


def device_number(path_or_device: Path | str) -> str:
    """Return ``major:minor`` of the disk behind a path, or what already is one."""
    if isinstance(path_or_device, str) and re.fullmatch(r"\d+:\d+", path_or_device):
        return path_or_device
    return block_device(Path(path_or_device))


def verify(
    directory: Path, read_bps: int | None = None, write_bps: int | None = None
) -> list[Check]:
    """Measure a directory's device by direct I/O before, under and after the limit.

    Each measurement moves what the limit grants in 0.7 s, in a child process; this process is in
    the limited cgroup while the child measures. The scratch file has at most 64 MiB.

    Raises:
        LimitRefused: the limit cannot be set, or the directory cannot be measured.
    """
    checks = []
    for direction, rate in _directions(read_bps, write_bps):
        plan = plan_for(rate)
        with _refusing_os_errors(directory), scratch_file(directory, plan) as file:
            before = _free_bandwidth(direction, file, plan, rate)
            read, write = (rate, None) if direction == "read" else (None, rate)
            with limited(directory, read, write):
                under = bandwidth(direction, file, plan)
            after = _free_bandwidth(direction, file, plan, rate)
        checks.append(Check(direction, rate, before, under, after))
    return checks


def _free_bandwidth(direction: Direction, file: Path, plan: Plan, rate: int) -> float:
    """Return the device's own bandwidth: others' traffic only slows, so the best of some counts."""
    best = 0.0
    for _ in range(_FREE_ATTEMPTS):
        best = max(best, bandwidth(direction, file, plan))
        if best >= rate * (1 + TOLERANCE):
            break
    return best


def check(limit: Limit, directory: Path) -> dict[Direction, float]:
    """Measure inside a limit that is in force for this process, before the run that asked for it.

    Returns:
        Bytes per second of each limited direction.

    Raises:
        LimitRefused: the limit does not hold, or the directory cannot be measured.
    """
    measured = {}
    for direction, rate in _directions(limit.read_bps, limit.write_bps):
        plan = plan_for(rate)
        with _refusing_os_errors(directory), scratch_file(directory, plan) as file:
            measured[direction] = bandwidth(direction, file, plan)
        if measured[direction] > rate * (1 + TOLERANCE):
            raise LimitRefused(
                f"the limit does not hold: {direction}s in {directory} run at "
                f"{format_rate(measured[direction])} instead of {format_rate(rate)}"
            )
    return measured


def _require_rates(read_bps: int | None, write_bps: int | None) -> None:
    rates = [rate for rate in (read_bps, write_bps) if rate is not None]
    if not rates or min(rates) < 1:
        raise LimitRefused(
            f"read bandwidth {read_bps} and write bandwidth {write_bps} bytes/s: give at least one "
            "of them, and none below 1"
        )


def _move_tree(
    pid: int, hierarchy: cgroups.Hierarchy, directory: Path, origins: dict[int, Path]
) -> None:
    """Move `pid` and its descendants, noting in `origins` where each comes from."""
    # Again while there are new ones: a process may start another before it is moved itself.
    while new := [member for member in cgroups.process_tree(pid) if member not in origins]:
        for member in new:
            origins[member] = hierarchy.cgroup_of(member)
        cgroups.move(new, directory)


def _directions(read_bps: int | None, write_bps: int | None) -> list[tuple[Direction, int]]:
    rates: list[tuple[Direction, int | None]] = [("read", read_bps), ("write", write_bps)]
    return [(direction, rate) for direction, rate in rates if rate is not None]


@contextlib.contextmanager
def _refusing_os_errors(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LimitRefused(f"{directory} cannot be measured by direct I/O: {error}") from None


def _throttle(limit: Limit, read_bps: int | None, write_bps: int | None) -> None:
    """Write a cgroup's limits; None lifts."""
    try:
        if limit.version == 2:
            values = f"rbps={read_bps or 'max'} wbps={write_bps or 'max'}"
            (limit.cgroup / "io.max").write_text(f"{limit.device} {values}")
        else:
            for name, rate in (("read", read_bps), ("write", write_bps)):
                file = limit.cgroup / f"blkio.throttle.{name}_bps_device"
                file.write_text(f"{limit.device} {rate or 0}")
    except OSError as error:
        raise LimitRefused(
            f"the kernel refuses a limit for device {limit.device} in {limit.cgroup} "
            f"({error.strerror}): name a whole disk, with block throttling in the kernel"
        ) from None
