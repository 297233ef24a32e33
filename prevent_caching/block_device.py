"""Which block device stores a path, as the ``major:minor`` that cgroups and /sys speak."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from prevent_caching.errors import PreventCachingError
from prevent_caching.mounts import Mount, mount_of, upper_mount

_SYS_BLOCK = Path("/sys/dev/block")


def device(path: Path) -> str:
    """Return ``major:minor`` of the device that holds `path`: a partition where it is one.

    A block device file (``/dev/sda``) stands for itself.

    Raises:
        PreventCachingError: no block device is behind the path, or it cannot be seen from here.
        UnsupportedPlatformError: elsewhere than on Linux.
    """
    if path.is_block_device():
        return _number(path.stat().st_rdev)
    mount = mount_of(path)
    if mount.file_system == "overlay":
        below = upper_mount(mount)
        if below is None:
            raise PreventCachingError(
                f"{path} is on an overlay whose upper layer is outside this mount namespace: "
                "name the device itself, or a path on a bind mount"
            )
        mount = below
    return _of_mount(path, mount)


def block_device(path: Path) -> str:
    """Return ``major:minor`` of the whole disk behind `path`, the level at which limits are set.

    A partition gives its disk; a device-mapper or RAID device stays itself.

    Raises:
        PreventCachingError: no block device is behind the path, or it cannot be seen from here.
        UnsupportedPlatformError: elsewhere than on Linux.
    """
    number = device(path)
    entry = (_SYS_BLOCK / number).resolve()
    if (entry / "partition").exists():
        return (entry.parent / "dev").read_text().strip()
    return number


def device_node(number: str) -> str:
    """Return the device file that belongs to ``major:minor``, for example ``/dev/sda``.

    Raises:
        PreventCachingError: the kernel knows no such device.
    """
    try:
        lines = (_SYS_BLOCK / number / "uevent").read_text().splitlines()
    except OSError:
        raise PreventCachingError(f"no block device {number} under {_SYS_BLOCK}") from None
    names = [line.partition("=")[2] for line in lines if line.startswith("DEVNAME=")]
    return f"/dev/{names[0]}" if names else number


def _of_mount(path: Path, mount: Mount) -> str:
    if not mount.device.startswith("0:"):
        return mount.device
    # btrfs gives every subvolume an anonymous number; its source names the device.
    source = Path(mount.source)
    if source.is_absolute() and source.exists() and stat.S_ISBLK(source.stat().st_mode):
        return _number(source.stat().st_rdev)
    raise PreventCachingError(
        f"{path} is on {mount.file_system} ({mount.source}), which has no block device here"
    )


def _number(device_number: int) -> str:
    return f"{os.major(device_number)}:{os.minor(device_number)}"
