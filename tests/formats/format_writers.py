"""What the processes do that tests start beside themselves: save, to be killed or to collide."""

from __future__ import annotations

import itertools
import multiprocessing
from multiprocessing.context import ForkServerContext
from multiprocessing.synchronize import Event
from pathlib import Path

from format_cases import large_model

from bench_core import formats
from bench_core.formats import Durability


def context() -> ForkServerContext:
    """Return a way to start processes that have torch from their first moment."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["torch", "bench_core.formats", "format_cases"])
    return processes


def save_forever(name: str, path: Path, saved_once: Event) -> None:
    """Save two models in turn, until killed."""
    format_ = formats.get(name)
    models = [large_model(1), large_model(2)]
    for model in itertools.cycle(models):
        format_.write(model, path, Durability.RETURN)
        saved_once.set()


def save_often(name: str, path: Path, seed: int, times: int) -> None:
    """Save one model some times."""
    format_, model = formats.get(name), large_model(seed)
    for _ in range(times):
        format_.write(model, path, Durability.RETURN)
