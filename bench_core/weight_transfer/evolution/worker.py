"""What a worker does with a candidate, in this process or in another."""

from __future__ import annotations

import functools

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


def evaluate(setup: Setup, candidate: Candidate) -> Outcome:
    """Train a candidate in a worker process, which opens its task and method once.

    Raises:
        As `Worker.run`.
    """
    return _opened(setup).run(candidate)


@functools.lru_cache(maxsize=1)
def _opened(setup: Setup) -> Worker:
    torch.set_num_threads(setup.threads)
    return Worker(setup, setup.method.open())
