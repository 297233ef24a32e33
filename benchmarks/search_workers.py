"""How much faster a search is on several Ray workers of one thread each."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from benchmarks.support.model_sets import synthetic
from benchmarks.support.search_base import SearchBenchmark

if TYPE_CHECKING:
    from bench_core.model_search import SearchResult


class Workers(SearchBenchmark):
    """Inside the clock: `search` whole, its workers' start included; Ray itself runs before.

    No workers: the engine `shared` in this process, with one thread as each worker has. What the
    rounds took without the start stands in the record's extra, ``rounds_seconds``. Whatever the
    number of workers, the scores must be the same bits.

    Ideal: that of `SearchBenchmark`, its computing dealt evenly to the workers.
    """

    params = ((0, 1, 2), ("TOP_LAYERS",), ("resnet_tiny",), (8,), (200,), (32,))
    param_names = ("workers", "distribution", "architecture", "n_models", "items", "size")
    quick = {"workers": (0, 2)}

    def prepare(
        self,
        workers: int,
        distribution: str,
        architecture: str,
        n_models: int,
        items: int,
        size: int,
    ) -> None:
        import torch

        self._threads = torch.get_num_threads()
        torch.set_num_threads(1)
        self.n_workers = workers
        if workers:
            _start_ray(workers)
        models = synthetic(architecture, distribution, n_models, size, self.seed)
        engine = "distributed" if workers else "shared"
        self.prepare_search(models, items, size, engine, "warm", "embedded", "cpu")

    def time_search(
        self,
        workers: int,
        distribution: str,
        architecture: str,
        n_models: int,
        items: int,
        size: int,
    ) -> SearchResult:
        return self.run_search()

    def verify(self) -> None:
        super().verify()
        self.note(rounds_seconds=self.result.seconds)

    def clean(self) -> None:
        import torch

        torch.set_num_threads(self._threads)
        if self.n_workers:
            import ray

            ray.shutdown()


def _start_ray(n_cpus: int) -> None:
    """Start a Ray of this machine.

    Raises:
        MissingExtraError: it is not installed; every runner skips the case.
    """
    from bench_core.optional import require

    ray = require("ray", "ray")
    quiet = {"log_to_driver": False, "logging_level": logging.WARNING}
    ray.init(address="local", num_cpus=n_cpus, include_dashboard=False, **quiet)
