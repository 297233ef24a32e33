"""What tests of all rooms use; examples may be drawn slowly where other work shares the cores."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.fixture
def make_small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Give what mounts a file system of so many MiB, for as long as the test lasts."""
    with contextlib.ExitStack() as stack:
        yield lambda mebibytes: stack.enter_context(_mounted(tmp_path / "disk", mebibytes))


@contextlib.contextmanager
def _mounted(folder: Path, mebibytes: int) -> Iterator[Path]:
    folder.mkdir()
    mount = shutil.which("mount")
    if sys.platform != "linux" or os.geteuid() != 0 or mount is None:
        pytest.skip("a small file system can be mounted by root on Linux only")
    command = [mount, "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mount is not permitted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
