"""A child cgroup for I/O limits: where it can be made, who is moved into it, how it goes away."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from prevent_caching.errors import LimitRefused, require_linux
from prevent_caching.mounts import Mount, parse_mountinfo

log = logging.getLogger(__name__)

_NAME = re.compile(r"prevent-caching-(\d+)-(\d+)-(\d+)-[0-9a-f]{8}")
_REMOVE_SECONDS = 2.0


@dataclass(frozen=True)
class Hierarchy:
    """The cgroup hierarchy that has the I/O controller: version 1 (blkio) or 2 (io)."""

    version: int
    point: Path
    root: PurePosixPath

    def directory(self, cgroup: PurePosixPath) -> Path:
        """Return the directory of a cgroup named as in /proc/<pid>/cgroup."""
        if cgroup.is_relative_to(self.root):
            return self.point / cgroup.relative_to(self.root)
        return self.point

    def cgroup_of(self, pid: int) -> Path:
        """Return the directory of the cgroup that holds process `pid`; the root if it ended."""
        try:
            lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        except OSError:
            return self.point
        for line in lines:
            _, controllers, name = line.split(":", 2)
            if controllers == "" if self.version == 2 else "blkio" in controllers.split(","):
                return self.directory(PurePosixPath(name))
        return self.point


def find_hierarchy() -> Hierarchy:
    """Return the hierarchy through which this kernel limits block I/O.

    Raises:
        LimitRefused: no hierarchy mounted here has the controller.
        UnsupportedPlatformError: elsewhere than on Linux.
    """
    require_linux("cgroups")
    return choose_hierarchy(parse_mountinfo(Path("/proc/self/mountinfo").read_text()))


def choose_hierarchy(mounts: Iterable[Mount]) -> Hierarchy:
    """Return the blkio hierarchy of version 1 where one is mounted, else version 2 with io.

    The kernel gives a controller to one version only, so there is no choice to make between them.

    Raises:
        LimitRefused: neither is there.
    """
    second = None
    for mount in mounts:
        if mount.file_system == "cgroup" and "blkio" in mount.super_options:
            return Hierarchy(1, mount.point, PurePosixPath(mount.root))
        if mount.file_system == "cgroup2":
            second = Hierarchy(2, mount.point, PurePosixPath(mount.root))
    if second is not None and "io" in _words(second.point / "cgroup.controllers"):
        return second
    raise LimitRefused(
        "no cgroup hierarchy with the blkio (v1) or io (v2) controller is mounted here: "
        "limit the whole container with docker's --device-read-bps and --device-write-bps"
    )


def create(hierarchy: Hierarchy, pid: int) -> Path:
    """Make an empty cgroup in which I/O can be limited, near the one that holds `pid`.

    Version 1: a child of that cgroup. Version 2, where a cgroup with processes cannot give its
    children controllers: a child of the nearest ancestor that gives io to its children; the
    ancestors' other limits hold on, those of the cgroup itself do not.

    Raises:
        LimitRefused: not permitted, or no ancestor gives io to its children.
    """
    origin = hierarchy.cgroup_of(pid)
    parent = origin if hierarchy.version == 1 else _giving_ancestor(hierarchy, origin)
    remove_leftovers(parent)
    name = f"prevent-caching-{_pid_namespace()}-{os.getpid()}-{_start_time(os.getpid())}"
    cgroup = parent / f"{name}-{secrets.token_hex(4)}"
    try:
        cgroup.mkdir()
    except OSError as error:
        raise LimitRefused(_not_permitted(parent, error)) from None
    return cgroup


def move(pids: Iterable[int], cgroup: Path) -> None:
    """Move processes, with all their threads, into `cgroup`; those that ended are passed over.

    Raises:
        LimitRefused: not permitted.
    """
    for pid in pids:
        try:
            (cgroup / "cgroup.procs").write_text(str(pid))
        except ProcessLookupError:
            continue
        except OSError as error:
            raise LimitRefused(
                f"process {pid} may not be moved into {cgroup} ({error.strerror}): run as root"
            ) from None


def members(cgroup: Path) -> list[int]:
    """Return the processes in `cgroup`."""
    # A process of another PID namespace reads as 0, which written back would mean this process.
    return [int(pid) for pid in _words(cgroup / "cgroup.procs") if pid != "0"]


def remove(cgroup: Path, origins: dict[int, Path], default: Path) -> None:
    """Move the processes of `cgroup` back to where they were and remove it.

    Args:
        cgroup: what `create` made.
        origins: the cgroup of each process that was moved.
        default: the cgroup for those that were started since.
    """
    deadline = time.monotonic() + _REMOVE_SECONDS
    while True:
        for pid in members(cgroup):
            with contextlib.suppress(LimitRefused):
                move([pid], origins.get(pid, default))
        try:
            cgroup.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError as error:
            if time.monotonic() > deadline:
                log.warning("%s is left behind without limits: %s", cgroup, error.strerror)
                return
        time.sleep(0.01)


def remove_leftovers(parent: Path) -> list[Path]:
    """Remove the empty cgroups below `parent` whose maker was killed; return them.

    One in which processes still run is kept: it has the limit that they were started under.
    """
    removed = []
    for cgroup in sorted(parent.glob("prevent-caching-*")):
        match = _NAME.fullmatch(cgroup.name)
        if match is None or int(match[1]) != _pid_namespace():
            continue
        if _start_time(int(match[2])) != int(match[3]):
            with contextlib.suppress(OSError):
                cgroup.rmdir()
                removed.append(cgroup)
    return removed


def process_tree(pid: int) -> list[int]:
    """Return `pid` and its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat_fields(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    tree = [pid]
    for member in tree:
        tree.extend(children.get(member, []))
    return tree


def _giving_ancestor(hierarchy: Hierarchy, origin: Path) -> Path:
    line = [d for d in (origin, *origin.parents) if d.is_relative_to(hierarchy.point)]
    for ancestor in line[1:] or line:
        if "io" in _words(ancestor / "cgroup.subtree_control"):
            return ancestor
    try:
        # Only the root cgroup may hold processes and give controllers at the same time.
        (hierarchy.point / "cgroup.subtree_control").write_text("+io")
    except OSError as error:
        raise LimitRefused(_not_permitted(hierarchy.point, error)) from None
    return hierarchy.point


def _not_permitted(parent: Path, error: OSError) -> str:
    return (
        f"no limited cgroup can be made in {parent} ({error.strerror}): run as root on the host, "
        "or limit the whole container with docker's --device-read-bps and --device-write-bps"
    )


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []


def _pid_namespace() -> int:
    """Return the number of this process's PID namespace: in another one its pid means another."""
    return Path("/proc/self/ns/pid").stat().st_ino


def _start_time(pid: int) -> int | None:
    """Return when `pid` started, in clock ticks since boot; None when there is no such process."""
    fields = _stat_fields(pid)
    return int(fields[19]) if fields else None


def _stat_fields(pid: int) -> list[str]:
    """Return /proc/<pid>/stat from the third field on: the second may hold spaces and brackets."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
