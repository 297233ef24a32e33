"""Loads by several readers at once: how many requests a format needs until the disk is busy."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

from benchmarks.layer_loading import CACHES, LoadBenchmark, dealt


class Readers(LoadBenchmark):
    """Inside the clock: threads that each open the file and read their share into fresh tensors.

    Tensor i goes to reader i mod ``readers``; the load ends with the last of them. The threads
    are there before. ``direct`` keeps several requests in flight already when it reads alone.
    Ideal: as `layer_loading.WholeModel`.
    """

    params = (
        ("direct", "safetensors", "safetensors_pread"),
        CACHES,
        (1, 4, 16),
        ("stack_16x1MiB",),
    )
    param_names = ("format", "cache", "readers", "model")
    quick = {"readers": (1, 4)}

    def prepare(self, format: str, cache: str, readers: int, model: str) -> None:
        self.prepare_load(format, cache, model)
        self.shares = [list(part) for part in dealt(self.expected, readers)]
        self.pool = ThreadPoolExecutor(readers)
        # The pool starts a thread only where none is idle, so each is kept until all are there.
        started = Barrier(readers)
        list(self.pool.map(lambda _: started.wait(), self.shares))

    def time_load(self, format: str, cache: str, readers: int, model: str) -> Any:
        parts = self.pool.map(lambda names: self.loader.load(self.path, names), self.shares)
        return {name: tensor for part in parts for name, tensor in part.items()}

    def clean(self) -> None:
        """Let the threads end."""
        if hasattr(self, "pool"):
            self.pool.shutdown()
