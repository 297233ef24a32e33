"""Which mount holds a path, read from /proc/self/mountinfo."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from prevent_caching.errors import PreventCachingError, require_linux


@dataclass(frozen=True)
class Mount:
    """One line of /proc/self/mountinfo (proc_pid_mountinfo(5))."""

    identity: int
    device: str
    root: str
    point: Path
    read_only: bool
    file_system: str
    source: str
    super_options: dict[str, str]


def mount_of(path: Path) -> Mount:
    """Return the mount that holds `path`, or the nearest existing parent of a path yet to be made.

    Raises:
        PreventCachingError: the mount is not listed for this process.
        UnsupportedPlatformError: elsewhere than on Linux.
    """
    require_linux("mountinfo")
    existing = _nearest_existing(path)
    mounts = parse_mountinfo(Path("/proc/self/mountinfo").read_text())
    identity = _mount_identity(existing)
    for mount in mounts:
        if mount.identity == identity:
            return mount
    # Sandboxes whose kernel leaves mnt_id out of fdinfo: the longest mount point above the path,
    # and of equal ones the last, which hides the earlier.
    above = [m for m in mounts if existing.is_relative_to(m.point)]
    if not above:
        raise PreventCachingError(f"no mount visible to this process holds {path}")
    return max(reversed(above), key=lambda m: len(m.point.parts))


def upper_mount(overlay: Mount) -> Mount | None:
    """Return the mount below an overlay's upper layer, or None where it is not visible.

    A container sees the host's path in its options; only a directory that exists here, and is
    not the overlay itself again, can be it.
    """
    upper = Path(overlay.super_options.get("upperdir", ""))
    try:
        below = mount_of(upper) if upper.is_absolute() and upper.is_dir() else None
    except (OSError, PreventCachingError):
        return None
    return None if below is None or below.identity == overlay.identity else below


def parse_mountinfo(text: str) -> list[Mount]:
    """Return the mounts in `text`, in order; lines of another form are passed over."""
    return [mount for line in text.splitlines() if (mount := _parse_line(line)) is not None]


def _parse_line(line: str) -> Mount | None:
    before, separator, after = line.partition(" - ")
    fields, rest = before.split(" "), after.split(" ")
    if not separator or len(fields) < 6 or len(rest) < 3:
        return None
    options = dict(option.partition("=")[::2] for option in _unescape(rest[2]).split(","))
    return Mount(
        identity=int(fields[0]),
        device=fields[2],
        root=_unescape(fields[3]),
        point=Path(_unescape(fields[4])),
        read_only="ro" in fields[5].split(",") or "ro" in options,
        file_system=rest[0],
        source=_unescape(rest[1]),
        super_options=options,
    )


def _unescape(text: str) -> str:
    r"""Undo the octal escapes of mountinfo, which writes a space as ``\040``."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def _nearest_existing(path: Path) -> Path:
    resolved = path.resolve()
    while not resolved.exists():
        resolved = resolved.parent
    return resolved


def _mount_identity(path: Path) -> int | None:
    """Return the kernel's own answer, which bind mounts and mounts over mounts cannot confuse."""
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        for line in Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines():
            key, _, value = line.partition(":")
            if key == "mnt_id":
                return int(value)
        return None
    finally:
        os.close(descriptor)
