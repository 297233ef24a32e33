"""Whether dropping caches means anything on the file system that holds a path."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prevent_caching.block_device import block_device, device
from prevent_caching.mounts import Mount, mount_of, upper_mount

__all__ = ["FileSystem", "block_device", "classify", "device", "kind"]

_MEMORY = frozenset({"tmpfs", "ramfs", "hugetlbfs", "devtmpfs", "rootfs"})
_REMOTE = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "gpfs", "lustre", "nfs", "nfs4", "smb3", "virtiofs"}
)
# On a block device although their own number is anonymous (0:n).
_ANONYMOUS_DISK = frozenset({"bcachefs", "btrfs"})


@dataclass(frozen=True)
class FileSystem:
    """A file system and whether eviction from the page cache makes its files cold.

    Attributes:
        name: as in /proc/self/mountinfo, for example ``ext4``.
        has_page_cache_drop: an evicted file is read from its device again.
        reason: one line that says why, or why not.
    """

    name: str
    has_page_cache_drop: bool
    reason: str


def kind(path: Path) -> FileSystem:
    """Return the kind of file system that holds `path` (which may be yet to be made).

    Raises:
        PreventCachingError: the mount is not visible to this process.
        UnsupportedPlatformError: elsewhere than on Linux.
    """
    return classify(mount_of(path))


def classify(mount: Mount) -> FileSystem:
    """Return what `mount` says about dropping caches."""
    name = mount.file_system
    if name == "overlay":
        return _classify_overlay(mount)
    droppable, reason = _verdict(name, mount.device)
    return FileSystem(name, droppable, f"{name} at {mount.point} {reason}")


def _verdict(name: str, device_number: str) -> tuple[bool, str]:
    """Return whether pages of a `name` file system can be dropped, and the reason."""
    if name in _MEMORY:
        return False, "keeps its files in memory: they have no colder place; use a disk"
    if name == "zfs":
        return False, "caches in the ARC, which posix_fadvise does not reach; use another disk"
    if name in _REMOTE:
        return False, "is served by another machine, whose cache cannot be dropped from here"
    if name.startswith("fuse"):
        return False, "is served by a process, which may cache by itself (FUSE); use a disk"
    if name in _ANONYMOUS_DISK or not device_number.startswith("0:"):
        return True, "keeps its files on a block device behind the page cache"
    return False, "is not known to store its files on a block device; use a disk"


def _classify_overlay(mount: Mount) -> FileSystem:
    """Judge an overlay by its upper layer, where what a process writes is stored."""
    below = upper_mount(mount)
    if below is None:
        layer = mount.super_options.get("upperdir", "read-only layers")
        return FileSystem(
            "overlay",
            True,
            f"overlay at {mount.point} keeps its files in {layer}, outside this mount namespace: "
            "not judged here, residency and the bytes read from the device decide",
        )
    found = classify(below)
    return FileSystem("overlay", found.has_page_cache_drop, f"overlay whose upper {found.reason}")
