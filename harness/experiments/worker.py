"""The process that takes a cell's samples: one at a time, as its parent asks for them.

A process of its own because libraries leave threads, memory and caches behind that the next cell
shall not inherit, and because a sample that hangs or crashes must not take the run with it.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import logging
import multiprocessing
import os
import signal
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Final, NoReturn

from harness.benchmark import Benchmark
from harness.discovery import load_package
from harness.errors import HarnessError
from harness.experiments.plan import Turn
from harness.records import Record
from harness.subprocesses import end_with_parent

if TYPE_CHECKING:
    from harness.limits import Limits

START_SECONDS: Final = 120.0
STOP_SECONDS: Final = 20.0


class WorkerDiedError(HarnessError):
    """The process that took a sample ended, or did not answer in time."""

    def __init__(self, reason: str, *, is_slow: bool) -> None:
        super().__init__(reason)
        self.is_slow = is_slow
        """Whether it did not answer in time, which it would not do the next time either."""


@dataclass(frozen=True)
class WorkerSettings:
    """What a process that takes samples is started with."""

    package: str | Path
    """Of the benchmarks: a name, or a folder."""
    directory: Path
    """The data folder of its samples."""
    log: Path
    """Where what it prints and the tracebacks of failed samples are appended."""
    memory_bytes: int | None = None
    """Private memory that it may have."""
    time_limit: float | None = None
    """Seconds that a sample may take; None for the ``timeout`` of its class."""


class Worker:
    """The parent's side of a process that takes samples; a context manager."""

    def __init__(self, settings: WorkerSettings) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, settings), name="samples")
        self._process.start()
        theirs.close()
        self._settings = settings
        self._is_ready = False

    @property
    def process(self) -> int:
        """Its process id."""
        return self._process.pid or 0

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let the process end, or interrupt its sample after an error or Ctrl-C.

        Either way it stops its servers and removes its files.
        """
        self._connection.close()
        if kind is None:
            self._process.join(STOP_SECONDS)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(STOP_SECONDS)
        self._kill()

    def sample(self, turn: Turn, limits: Limits | None) -> Record:
        """Take one sample.

        Raises:
            WorkerDiedError: the process ended instead, or the sample took too long; it is gone
                then.
        """
        case = turn.case
        request = case.module, case.cls.__name__, case.method, dict(case.params)
        seconds = self._settings.time_limit or case.cls.timeout
        try:
            if not self._is_ready:
                self._receive(START_SECONDS)
                self._is_ready = True
            self._connection.send((request, turn.round, turn.seed, limits))
            record: Record = self._receive(seconds)
        except (EOFError, ConnectionError) as error:
            reason = f"its process ended: {self._epitaph()}"
            raise WorkerDiedError(reason, is_slow=False) from error
        return record

    def _receive(self, seconds: float) -> Any:
        if not self._connection.poll(seconds):
            self._kill()
            reason = f"no answer after {seconds:g} s; its process was killed"
            raise WorkerDiedError(reason, is_slow=True)
        return self._connection.recv()

    def _kill(self) -> None:
        if self._process.is_alive():
            self._process.kill()
        self._process.join()

    def _epitaph(self) -> str:
        self._process.join(STOP_SECONDS)
        code = self._process.exitcode
        if code is not None and code < 0:
            return f"signal {signal.Signals(-code).name}"
        return f"exit code {code}"


def _serve(connection: Connection, settings: WorkerSettings) -> None:
    """Answer requests until there are no more; the process's main function."""
    _end_with_parent()
    _log_to(settings.log)
    if settings.memory_bytes is not None:
        _limit_memory(settings.memory_bytes)
    os.environ["BENCH_CORE_DATA"] = str(settings.directory)
    package = settings.package
    name = load_package(package).__name__ if isinstance(package, Path) else package
    # The parent hangs up when it needs no more samples, or no longer wants this one.
    with contextlib.suppress(EOFError, ConnectionError):
        connection.send("ready")
        _answer(connection, name)


def _answer(connection: Connection, package: str) -> NoReturn:
    # One instance a case, kept between its rounds: what it reuses is a part of what it measures.
    instances: dict[tuple[Any, ...], Benchmark] = {}
    while True:
        request, number, seed, limits = connection.recv()
        module, cls, method, params = request
        key = module, cls, method, *params.values()
        if key not in instances:
            instances[key] = _benchmark(package, module, cls)
        benchmark = instances[key]
        benchmark.round, benchmark.seed, benchmark.limits = number, seed, limits
        connection.send(benchmark.sample(method, *params.values()))


def _benchmark(package: str, module: str, cls: str) -> Benchmark:
    benchmark: Benchmark = getattr(importlib.import_module(f"{package}.{module}"), cls)()
    return benchmark


def _end_with_parent() -> None:
    """Leave Ctrl-C to the parent, end on SIGTERM in good order, and at the parent's death (Linux).

    In good order: what is registered to happen at the exit stops servers and removes files. An
    exception from the handler would be lost wherever the interpreter ignores them.
    """

    def end(number: int, frame: FrameType | None) -> None:
        atexit._run_exitfuncs()
        os._exit(128 + number)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, end)
    end_with_parent(signal.SIGTERM)


def _log_to(path: Path) -> None:
    """Append to the cell's log what this process and its libraries print, and failures in full."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    os.close(descriptor)
    logging.basicConfig(format="%(asctime)s %(message)s", stream=sys.stderr)
    logging.getLogger("harness").setLevel(logging.DEBUG)


def _limit_memory(memory_bytes: int) -> None:
    """Let allocations beyond the limit fail, with an error that names them.

    Private writable memory counts; files that are only mapped to be read do not.
    """
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
