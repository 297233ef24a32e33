"""Processes that ask for donors at the same time, and what each of them does.

A process is given its task as JSON in an argument, says ``ready`` when it has what it needs, begins
at a line on its input, and prints what it found.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, Any, Final

from benchmarks.support.child_processes import check_library, child_command, library_file
from benchmarks.support.query_times import timed
from harness.errors import HarnessError

if TYPE_CHECKING:
    from benchmarks.support.prefix_populations import StoredNames

READY: Final = "ready"


@dataclass(frozen=True)
class Read:
    """What readers at the same time did."""

    makespan: float
    """Seconds from the first one's start to the last one's end."""
    taken: list[float]
    """Seconds of each query of all readers."""
    last: list[tuple[int, int | None]]
    """For each reader its last query's number, and the donor that it found."""


def read_at_once(
    readers: int, contender: str, stored: StoredNames, match: int, queries: int, timeout: float
) -> Read:
    """Start readers, let them begin together, and return what they did.

    Raises:
        HarnessError: one of them failed, took more than ``timeout`` seconds, or has the library
            from elsewhere.
    """
    task: dict[str, Any] = {
        "stored": (stored.space, stored.n, stored.layers, stored.seed),
        "contender": contender,
        "match": match,
        "queries": queries,
    }
    if contender == "redis_scan":
        task["redis"] = (str(stored.redis.folder), stored.redis.address)
    with ExitStack() as stack:
        started = [stack.enter_context(_reader(task, timeout)) for _ in range(readers)]
        found = _answers(started)
    check_library(one["library"] for one in found)
    return Read(
        (max(one["ended"] for one in found) - min(one["began"] for one in found)) / 1e9,
        [seconds for one in found for seconds in one["taken"]],
        [tuple(one["last"]) for one in found],
    )


def _answers(readers: Sequence[subprocess.Popen[str]]) -> list[dict[str, Any]]:
    """Let the readers begin when all are ready, and return what each printed."""
    for reader in readers:
        if _line(reader) != READY:
            raise _failed(reader)
    for reader in readers:
        _input(reader).write("begin\n")
        _input(reader).flush()
    found = []
    for reader in readers:
        line = _line(reader)
        if not line:
            raise _failed(reader)
        found.append(json.loads(line))
    return found


def main(arguments: Sequence[str]) -> None:
    """Be one reader: see the module."""
    task = json.loads(arguments[0])
    ask, children = _prepared(task)
    gc.collect()
    gc.disable()  # as in every sample
    print(READY, flush=True)
    if not sys.stdin.readline():
        return  # nobody waits any more
    asked = [children[number % len(children)] for number in range(task["queries"])]
    began = time.perf_counter_ns()
    found, taken = timed(ask, asked)
    ended = time.perf_counter_ns()
    number = (len(asked) - 1) % len(children)
    donor = None if found[-1] is None else found[-1].donor
    answer = {"began": began, "ended": ended, "taken": taken, "last": (number, donor)}
    print(json.dumps({**answer, "library": library_file()}), flush=True)


def _prepared(task: dict[str, Any]) -> tuple[Any, list[Any]]:
    """Return what answers a reader's queries, and the queries."""
    from benchmarks.support.prefix_populations import QUERIES, StoredNames
    from benchmarks.support.redis_names import opened_scan

    stored = StoredNames(*task["stored"])
    children = stored.queries(task["match"], min(QUERIES, task["queries"]))
    if task["contender"] == "index":
        return stored.index.best, children
    folder, address = task["redis"]
    return opened_scan(Path(folder), address).best_match, children


@contextmanager
def _reader(task: dict[str, Any], timeout: float) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        child_command("benchmarks.support.prefix_readers", json.dumps(task)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    timer = Timer(timeout, process.kill)
    timer.start()
    try:
        with process:
            try:
                yield process
            except BaseException:
                process.kill()
                raise
            _input(process).close()
    finally:
        timer.cancel()


def _input(process: subprocess.Popen[str]) -> Any:
    return process.stdin


def _line(process: subprocess.Popen[str]) -> str:
    return process.stdout.readline().strip() if process.stdout else ""


def _failed(process: subprocess.Popen[str]) -> HarnessError:
    said = process.stderr.read().strip().splitlines() if process.stderr else []
    return HarnessError(f"a reader failed: {said[-1] if said else 'it was ended'}")
