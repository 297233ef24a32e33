"""What a worker does with a candidate, in this process or in another."""

from __future__ import annotations

import secrets
from contextlib import ExitStack, suppress
from typing import Final

import torch

from bench_core.weight_transfer.errors import GraphError, SpaceError
from bench_core.weight_transfer.evolution.settings import Candidate, Outcome, Setup
from bench_core.weight_transfer.methods.base import TransferMethod
from bench_core.weight_transfer.stamps import Stamps
from bench_core.weight_transfer.trainer import TransferTrainer


class Worker:
    """Trains the candidates of one search, with a transfer method that it may share."""

    def __init__(self, setup: Setup, method: TransferMethod) -> None:
        """Open the task.

        Raises:
            TaskError: there is no such task.
        """
        self._space = setup.space
        self._trainer = TransferTrainer(method, setup.task.open(), setup.plan)

    def run(self, candidate: Candidate) -> Outcome:
        """Train one candidate; one that cannot be built is an outcome, not an error.

        Raises:
            As `TransferTrainer.run_with`, but for `GraphError`.
        """
        stamps = Stamps(self._trainer.plan.device)
        try:
            graph = self._space.build(candidate.arch)
            stamps.end("graph")
            trained = self._trainer.run_with(
                candidate.model, graph, candidate.match, seed=candidate.seed
            )
        except (GraphError, SpaceError) as error:
            return Outcome(candidate.birth, float("-inf"), problem=str(error))
        return Outcome(
            birth=candidate.birth,
            accuracy=trained.accuracy,
            layers=len(graph),
            transferred=0 if trained.match is None else len(trained.match.positions),
            bytes_fetched=trained.bytes_fetched,
            bytes_logical=0 if trained.stored is None else trained.stored.bytes_logical,
            bytes_physical=0 if trained.stored is None else trained.stored.bytes_physical,
            phases={**stamps.phases, **trained.phases},
            problem="" if trained.stored else "a weight or an output is not finite",
        )


class _Kept:
    """The worker of the search that a process works for, with the method that is open for it.

    Processes of MPI and Ray outlive a search, and the next one may have the same setup and other
    models: whose worker it is, the search's own mark says.
    """

    def __init__(self) -> None:
        self._run: str | None = None
        self._worker: Worker | None = None
        self._opened = ExitStack()

    def worker(self, run: str, setup: Setup) -> Worker:
        """Return the worker of a search; the first time close another's, and open it."""
        if self._worker is None or run != self._run:
            self._worker = None
            with suppress(Exception):  # the earlier search may have ended with its server
                self._opened.close()
            with ExitStack() as opened:
                method = opened.enter_context(setup.method.open())
                worker = Worker(setup, method)
                self._opened = opened.pop_all()
            self._run, self._worker = run, worker
        return self._worker


_kept: Final = _Kept()
"""A task in a pool's process has no other place between two calls."""


def new_run() -> str:
    """Return a mark for one search, for `evaluate`."""
    return secrets.token_hex(8)


def evaluate(run: str, setup: Setup, candidate: Candidate) -> Outcome:
    """Train a candidate in a worker process, which opens task and method once for each search.

    Args:
        run: the search's mark, of `new_run`. The first call of another search closes what the
            earlier one had open: one search at a time is at work in a process.
        setup: the same for all candidates of a search.
        candidate: what to train.

    Raises:
        As `Worker.run`.
    """
    torch.set_num_threads(setup.threads)
    return _kept.worker(run, setup).run(candidate)
