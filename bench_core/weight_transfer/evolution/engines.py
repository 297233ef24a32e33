"""Where candidates are trained: in this process, in others, under MPI, on Ray."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from types import MappingProxyType
from typing import Any, Final

from bench_core.errors import UnknownNameError, nearest
from bench_core.formats.atomic import one_line
from bench_core.optional import require
from bench_core.torch_threads import torch_threads
from bench_core.weight_transfer.errors import EvolutionError
from bench_core.weight_transfer.evolution.settings import Candidate, Outcome, Setup
from bench_core.weight_transfer.evolution.worker import Worker, evaluate, new_run
from bench_core.weight_transfer.methods.base import TransferMethod

_LOST: Final = "a worker was lost; the same search with its journal goes on from the last arrival"


class Engine(ABC):
    """Takes candidates and gives outcomes, in the order in which they are ready."""

    @abstractmethod
    def submit(self, candidate: Candidate) -> None:
        """Let a candidate be trained; returns at once.

        Raises:
            EvolutionError: a worker was lost.
        """

    @abstractmethod
    def next(self) -> Outcome:
        """Return an outcome that is ready, or wait for one.

        Raises:
            EvolutionError: a worker was lost.
            Whatever a worker raised.
        """

    @abstractmethod
    def close(self) -> None:
        """End the workers; what is being trained is given up."""


class Serial(Engine):
    """Trains in this process, one after the other, in the order of their births."""

    def __init__(self, setup: Setup, workers: int, method: TransferMethod) -> None:
        self._waiting: deque[Candidate] = deque()
        with ExitStack() as threads:
            threads.enter_context(torch_threads(setup.threads))
            self._worker = Worker(setup, method)
            self._threads = threads.pop_all()

    def submit(self, candidate: Candidate) -> None:
        """Put the candidate at the end of the queue."""
        self._waiting.append(candidate)

    def next(self) -> Outcome:
        """Train the first of the queue."""
        return self._worker.run(self._waiting.popleft())

    def close(self) -> None:
        """Give torch its threads back."""
        self._threads.close()


class Pool(Engine):
    """Trains in the processes of an executor."""

    def __init__(self, setup: Setup, executor: Executor) -> None:
        self._run = new_run()
        self._setup = setup
        self._executor = executor
        self._running: dict[Future[Outcome], int] = {}

    def submit(self, candidate: Candidate) -> None:
        """Hand the candidate to the executor."""
        try:
            future = self._executor.submit(evaluate, self._run, self._setup, candidate)
        except BrokenProcessPool as error:
            raise EvolutionError(_LOST) from error
        self._running[future] = candidate.birth

    def next(self) -> Outcome:
        """Wait for the first that is ready; of several, for the earliest birth."""
        ready, _ = wait(self._running, return_when=FIRST_COMPLETED)
        first = min(ready, key=self._running.__getitem__)
        del self._running[first]
        try:
            return first.result()
        except BrokenProcessPool as error:
            raise EvolutionError(_LOST) from error

    def close(self) -> None:
        """Wait for what is running; drop the rest."""
        self._executor.shutdown(cancel_futures=True)


class OnRay(Engine):
    """Trains in Ray's workers, on the cluster that Ray is told of, or on this machine."""

    def __init__(self, setup: Setup, workers: int, method: TransferMethod) -> None:
        self._ray: Any = require("ray", "ray")
        self._is_ours = not self._ray.is_initialized()
        if self._is_ours:
            _begin_ray(self._ray, workers)
        self._run = new_run()
        self._setup = self._ray.put(setup)
        # A worker that was lost is not replaced in silence: its candidate's model may be stored.
        self._evaluate = self._ray.remote(num_cpus=1, max_retries=0)(evaluate)
        self._running: dict[Any, int] = {}

    def submit(self, candidate: Candidate) -> None:
        """Make a task of the candidate."""
        task = self._evaluate.remote(self._run, self._setup, candidate)
        self._running[task] = candidate.birth

    def next(self) -> Outcome:
        """Wait for the first task that is ready."""
        (first,), _ = self._ray.wait(list(self._running), num_returns=1)
        del self._running[first]
        try:
            outcome: Outcome = self._ray.get(first)
        except (
            self._ray.exceptions.WorkerCrashedError,
            self._ray.exceptions.NodeDiedError,
        ) as error:
            raise EvolutionError(_LOST) from error
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from error
        return outcome

    def close(self) -> None:
        """Cancel what is running, and end Ray if it was begun here."""
        for task in self._running:
            self._ray.cancel(task, force=True)
        if self._is_ours:
            self._ray.shutdown()


def _begin_ray(ray: Any, workers: int) -> None:
    """Connect to the cluster that the environment names, or begin one on this machine.

    Raises:
        EvolutionError: no cluster answers there.
    """
    quiet = {"log_to_driver": False, "configure_logging": False}
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        ray.init(address="local", num_cpus=workers, include_dashboard=False, **quiet)
        return
    try:
        ray.init(address=address, **quiet)  # how many processors it has is its own matter
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise EvolutionError(
            f"no Ray answers at RAY_ADDRESS {address} ({one_line(error)}); start one there, or "
            "unset the variable for one of this machine"
        ) from error


def _begin_worker() -> None:
    """Let a worker process end with the search, however that ends; at Ctrl-C without a word."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has a parent"
    parent.join()
    os._exit(1)


def _processes(setup: Setup, workers: int, method: TransferMethod) -> Engine:
    spawn = multiprocessing.get_context("spawn")  # a fork would copy locks and sockets
    return Pool(setup, ProcessPoolExecutor(workers, spawn, _begin_worker))


def _mpi(setup: Setup, workers: int, method: TransferMethod) -> Engine:
    """Use the ranks of ``mpiexec -n N python -m mpi4py.futures program``, all but the first."""
    executor: Executor = require("mpi4py.futures", "mpi").MPIPoolExecutor(workers)
    return Pool(setup, executor)


_ENGINES: Final[Mapping[str, Callable[[Setup, int, TransferMethod], Engine]]] = MappingProxyType(
    {"serial": Serial, "processes": _processes, "mpi": _mpi, "ray": OnRay}
)


def names() -> tuple[str, ...]:
    """Return the names of the engines."""
    return tuple(_ENGINES)


def open_engine(name: str, setup: Setup, workers: int, method: TransferMethod) -> Engine:
    """Start an engine.

    Args:
        name: one of `names`.
        setup: what its workers need.
        workers: how many; ``serial`` has one.
        method: of this process, for ``serial``.

    Raises:
        UnknownNameError: there is no such engine.
        EvolutionError: no worker, several for ``serial``, or models in memory, which no other
            process sees.
        MissingExtraError: what it runs on is not installed.
    """
    if name not in _ENGINES:
        raise UnknownNameError(
            f"no engine {name!r}, expected one of {', '.join(_ENGINES)}{nearest(name, _ENGINES)}"
        )
    if workers < 1:
        raise EvolutionError(f"{workers} workers, expected 1 or more")
    if name == "serial" and workers > 1:
        raise EvolutionError(
            f"{workers} workers for engine serial, which has one; take engine processes, or for "
            "several candidates at once without workers `Evolution.in_flight`"
        )
    if name != "serial" and setup.method.is_in_memory:
        raise EvolutionError(
            f"engine {name} has workers in other processes, which cannot see models in memory; "
            "take another store, or engine serial"
        )
    return _ENGINES[name](setup, workers, method)
