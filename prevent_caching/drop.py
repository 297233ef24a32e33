"""Drop this kernel's caches directly, for a process that may."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from prevent_caching.errors import DropRefused, require_linux

DROP_CACHES = Path("/proc/sys/vm/drop_caches")
# Linux, Documentation/admin-guide/sysctl/vm.rst: 1 frees clean file pages, 2 dentries and inodes.
LEVELS = {1: "page cache", 3: "page cache, dentries and inodes"}


def may_drop(control: Path = DROP_CACHES) -> bool:
    """Return whether this process may drop the caches itself."""
    return sys.platform == "linux" and os.access(control, os.W_OK)


def drop(level: int = 3, control: Path = DROP_CACHES) -> float:
    """Write all dirty pages to their devices, drop the clean ones, return the seconds it took.

    Global: every process on this kernel finds its files cold. Pages that are mapped, dirtied
    since, or on a memory file system stay.

    Args:
        level: 1 drops the page cache, 3 also dentries and inodes.
        control: the kernel's control file, elsewhere than in /proc when that is another's.

    Raises:
        DropRefused: this process may not, or the kernel refuses.
        UnsupportedPlatformError: elsewhere than on Linux.
    """
    require_linux("dropping caches")
    started = time.monotonic()
    # The kernel drops clean pages only.
    os.sync()
    try:
        descriptor = os.open(control, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, f"{level}\n".encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise DropRefused(
            f"user {os.geteuid()} may not write {control} ({error.strerror}): run as root, "
            "outside a container or with a writable /proc/sys"
        ) from None
    return time.monotonic() - started


def boot_id() -> str:
    """Return the random identity of the running kernel's boot, or "" where it is not told.

    Containers share it with their host; a virtual machine has its own.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
