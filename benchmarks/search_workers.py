"""How much faster a search is on several Ray workers of one thread each."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from benchmarks.support.model_sets import ModelSet, synthetic
from benchmarks.support.search_base import SearchBenchmark


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

    def prepare(self, *params: Any) -> None:
        import torch

        self._threads = torch.get_num_threads()
        torch.set_num_threads(1)
        self.n_workers = int(params[0])
        if self.n_workers:
            _start_ray(self.n_workers)
        super().prepare(*params)

    def model_set(self, given: Mapping[str, Any]) -> ModelSet:
        self.engine = "distributed" if self.n_workers else "shared"
        names = ("architecture", "distribution", "n_models", "size")
        return synthetic(**{name: given[name] for name in names}, seed=self.seed)

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
