"""Random populations and their children: the same for any number of workers, and resumable."""

from __future__ import annotations

from concurrent.futures import Executor
from pathlib import Path

import numpy as np

from bench_core.weight_transfer import population_chunks as chunks
from bench_core.weight_transfer.population_files import Population, load
from bench_core.weight_transfer.spaces.base import SearchSpace

__all__ = ["Population", "evolve", "generate", "load"]


def generate(
    space: SearchSpace,
    n: int,
    seed: int,
    workers: int = 1,
    *,
    folder: Path | None = None,
    executor: Executor | None = None,
) -> Population:
    """Draw ``n`` architectures; the same bytes for any number of workers and any executor.

    Args:
        space: of which each architecture has the same odds.
        n: how many, 0 or more.
        seed: 0 or more. Chunks of rows have seeds of their own, spawned from it.
        workers: threads, if no executor is given.
        folder: keeps finished chunks, so that a killed run goes on where it was; chunks of other
            arguments in it are not looked at.
        executor: runs the chunks, as ``mpi4py.futures.MPIPoolExecutor``.

    Raises:
        SpaceError: a number is out of range.
        SaveError: a chunk could not be kept.
    """
    work = chunks.drawn(space, n, seed)
    drawn = _unfilled(space, n)
    chunks.fill(drawn, work, workers, folder, executor)
    return drawn


def evolve(
    population: Population,
    count: int,
    seed: int,
    workers: int = 1,
    *,
    beta: float | None = None,
    folder: Path | None = None,
    executor: Executor | None = None,
) -> Population:
    """Return the population with its first ``count`` architectures replaced by children of them.

    Each child differs from the row in whose place it stands in exactly one choice. ``beta`` as in
    `mutation.position_weights`, all else as in `generate`.

    Raises:
        SpaceError: a number is out of range, or the space allows no mutation.
        SaveError: a chunk could not be kept.
    """
    work = chunks.changed(population, count, seed, beta)
    evolved = _unfilled(population.space, len(population))
    chunks.fill(evolved, work, workers, folder, executor)
    evolved.archs[count:], evolved.names[count:] = (
        population.archs[count:],
        population.names[count:],
    )
    return evolved


def _unfilled(space: SearchSpace, n: int) -> Population:
    shape = n, len(space.choices)
    return Population(space, np.empty(shape, dtype=np.uint16), np.empty(shape, dtype=np.uint64))
