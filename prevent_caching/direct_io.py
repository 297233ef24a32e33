"""Measure the bandwidth of a file by O_DIRECT, past the page cache, in a child process.

This file is also the child's program, run by its path: a child belongs to the cgroup in which it
was started, from its first byte on.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Literal

Direction = Literal["read", "write"]

_SECONDS = 0.7
# The kernel lets a limited process go freely until its first slice of time (100 ms) is used up.
_UNTIMED_SHARE = 1 / 4
_LEAST_BLOCKS = 9
_BLOCK_BYTES = (4 << 10, 1 << 20)
_FILE_BYTES = 64 << 20


@dataclass(frozen=True)
class Plan:
    """What a measurement moves: `blocks` of `block_bytes`, over and over in `file_blocks`."""

    blocks: int
    block_bytes: int
    file_blocks: int


def plan_for(rate: int) -> Plan:
    """Return what moves in about 0.7 s at `rate` bytes per second, in a file of at most 64 MiB."""
    smallest, largest = _BLOCK_BYTES
    block = min(max(1 << (rate // 64).bit_length() - 1 if rate >= 64 else 1, smallest), largest)
    blocks = max(int(rate * _SECONDS) // block, _LEAST_BLOCKS)
    return Plan(blocks, block, min(blocks, _FILE_BYTES // block))


@contextlib.contextmanager
def scratch_file(directory: Path, plan: Plan) -> Iterator[Path]:
    """Yield a file of random bytes in `directory`, as large as `plan` needs, and remove it.

    Raises:
        OSError: the directory is not writable, or its file system knows no O_DIRECT.
    """
    with tempfile.NamedTemporaryFile(dir=directory, prefix=".prevent-caching-") as file:
        path = Path(file.name)
        bandwidth("write", path, Plan(plan.file_blocks, plan.block_bytes, plan.file_blocks))
        yield path


def bandwidth(direction: Direction, path: Path, plan: Plan) -> float:
    """Return the bytes per second at which a child process reads or overwrites a scratch file.

    One request at a time; random bytes are written.

    Raises:
        OSError: what the child met.
    """
    arguments = json.dumps([direction, str(path), *astuple(plan)])
    command = [sys.executable, "-I", __file__, arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(done.stderr.strip().rpartition("\n")[2] or f"exit {done.returncode}")
    return float(done.stdout)


def _measure(direction: str, path: str, blocks: int, block_bytes: int, file_blocks: int) -> float:
    """Move the blocks in this process; return the slope of bytes over seconds.

    The kernel grants a slice's bytes at once and then lets wait: the fitted slope does not depend
    on where in a slice the measurement starts and ends, as bytes over elapsed seconds would.
    """
    flags = os.O_RDONLY if direction == "read" else os.O_WRONLY
    descriptor = os.open(path, flags | os.O_DIRECT)
    move = os.preadv if direction == "read" else os.pwritev
    stamps = []
    # A map of its own is aligned as O_DIRECT wants it; filling it is outside the clock.
    with mmap.mmap(-1, block_bytes * file_blocks) as memory, memoryview(memory) as view:
        for block in range(file_blocks):
            view[block * block_bytes :][:block_bytes] = os.urandom(block_bytes)
        for block in range(blocks):
            start = block % file_blocks * block_bytes
            with view[start : start + block_bytes] as part:
                if move(descriptor, [part], start) != block_bytes:
                    raise OSError(f"{path} ends before byte {start + block_bytes}")
            stamps.append(time.perf_counter())
    os.close(descriptor)
    timed = range(int(blocks * _UNTIMED_SHARE), blocks)
    positions = [float(block * block_bytes) for block in timed]
    return statistics.linear_regression([stamps[block] for block in timed], positions).slope


if __name__ == "__main__":
    print(_measure(*json.loads(sys.argv[1])))
