"""Runs of the toys as processes of their own, to be watched and killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.errors import InputError
from harness.experiments.plan import TurnKey, key_of
from harness.records import Record, read_run

WAIT_SECONDS = 60.0


def command(tmp_path: Path, package: Path, out: Path, *options: str) -> list[str]:
    """Return the command line that runs ``toy.toml``."""
    arguments = ["--file", str(tmp_path / "toy.toml"), "--benchmarks", str(package)]
    arguments += ["--out", str(out), "--dir", str(tmp_path / "data"), *options]
    return [sys.executable, "-m", "harness.cli", "run", "toy", *arguments]


def start(arguments: Sequence[str]) -> subprocess.Popen[str]:
    """Start a run whose complaints can be read at its end."""
    return subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def records(out: Path) -> list[Record]:
    """Return all samples in a run's folder."""
    return [record for path in sorted(out.glob("*.jsonl")) for record in _records(path)]


def _records(path: Path) -> Sequence[Record]:
    try:
        return read_run(path).records
    except InputError:
        return ()  # its header is not written yet


def identities(found: Sequence[Record]) -> Counter[tuple[TurnKey, str, str | None]]:
    """Count the samples by what does not depend on time, process and host."""
    return Counter((key_of(record), record.status, record.reason) for record in found)


def children(process: int) -> list[int]:
    """Return the processes that a process has started."""
    found: list[int] = []
    for path in Path("/proc", str(process), "task").glob("*/children"):
        try:
            found += map(int, path.read_text().split())
        except OSError:
            continue
    return found


def descendants(process: int) -> list[int]:
    """Return the processes below a process."""
    found = children(process)
    return found + [below for child in found for below in descendants(child)]


def wait_for(what: Callable[[], bool], complaint: str) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not what():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.01)


def is_gone(process: int) -> bool:
    """Whether a process has ended (a zombie has)."""
    try:
        os.kill(process, 0)
        state = Path("/proc", str(process), "stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return True
    return state == "Z"
