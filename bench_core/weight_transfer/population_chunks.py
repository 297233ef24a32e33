"""Populations made chunk by chunk: each has its own random numbers and, where asked, its file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from bench_core.errors import CorruptFileError
from bench_core.weight_transfer.errors import SpaceError
from bench_core.weight_transfer.mutation import mutate, position_weights
from bench_core.weight_transfer.population_files import Population, describe, load
from bench_core.weight_transfer.prefix_names import prefix_names
from bench_core.weight_transfer.spaces.base import Archs, SearchSpace

CHUNK: Final = 16_384
"""Rows of a chunk. Part of what a seed stands for: another number is another population."""


@dataclass(frozen=True)
class Chunk:
    """Rows to make: everything a worker needs, wherever it runs."""

    space: SearchSpace
    size: int
    seed: np.random.SeedSequence
    parents: Archs | None = None
    """The rows to change, shape (size, L); None: draw new ones."""
    beta: float | None = None
    """Of `mutation.mutate`."""
    path: Path | None = None
    """Where the finished chunk is kept; None: nowhere."""

    def make(self) -> Population:
        """Return the rows, from the file if an earlier run finished it."""
        if self.path is not None and self.path.exists():
            try:
                return load(self.path)
            except CorruptFileError:
                self.path.unlink(missing_ok=True)
        rng = np.random.default_rng(self.seed)
        if self.parents is None:
            rows = self.space.random(self.size, rng)
        else:
            rows = mutate(self.space, self.parents, rng, self.beta)
        made = Population(self.space, rows, prefix_names(rows))
        if self.path is not None:
            made.save(self.path)
        return made

    def digest(self) -> bytes:
        """Return 16 bytes over all that decides the rows."""
        state = self.seed.entropy, self.seed.spawn_key, self.size, self.beta, CHUNK
        whole = hashlib.blake2b(f"{describe(self.space)} {state}".encode(), digest_size=16)
        if self.parents is not None:
            whole.update(b"parents")
            whole.update(np.ascontiguousarray(self.parents).tobytes())
        return whole.digest()


def drawn(space: SearchSpace, n: int, seed: int) -> list[Chunk]:
    """Return the chunks of ``n`` new rows.

    Raises:
        SpaceError: ``n`` or ``seed`` is negative.
    """
    sizes = _sizes(n)
    return [
        Chunk(space, size, child)
        for size, child in zip(sizes, _seeds(seed, len(sizes)), strict=True)
    ]


def changed(population: Population, count: int, seed: int, beta: float | None) -> list[Chunk]:
    """Return the chunks of children of the first ``count`` rows.

    Raises:
        SpaceError: ``count`` is negative or larger than the population, ``seed`` is negative, or
            the space allows no such mutation.
    """
    if count > len(population):
        raise SpaceError(
            f"{count} architectures to evolve, expected at most the population's {len(population)}"
        )
    position_weights(population.space, beta)
    sizes = _sizes(count)
    starts = range(0, count, CHUNK)
    return [
        Chunk(population.space, size, child, population.archs[start : start + size], beta)
        for start, size, child in zip(starts, sizes, _seeds(seed, len(sizes)), strict=True)
    ]


def made(
    chunks: list[Chunk], workers: int, folder: Path | None, executor: Executor | None
) -> Iterator[Population]:
    """Yield the finished chunks in order.

    Threads, not processes: numpy lets go of the interpreter, and no rows are sent anywhere.

    Args:
        chunks: what to make.
        workers: how many threads, if no executor is given.
        folder: where finished chunks are kept; made if it is not there.
        executor: runs them instead of threads; its workers see the folder too.

    Raises:
        SpaceError: fewer than 1 worker.
    """
    if workers < 1:
        raise SpaceError(f"{workers} workers, expected at least 1")
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        chunks = [
            replace(chunk, path=folder / f"chunk-{chunk.digest().hex()}.npz") for chunk in chunks
        ]
    if executor is None and workers == 1:
        yield from map(Chunk.make, chunks)
        return
    with ExitStack() as stack:
        pool = executor or stack.enter_context(ThreadPoolExecutor(workers))
        yield from pool.map(Chunk.make, chunks)


def _sizes(n: int) -> list[int]:
    if n < 0:
        raise SpaceError(f"{n} architectures, expected 0 or more")
    return [min(CHUNK, n - start) for start in range(0, n, CHUNK)]


def _seeds(seed: int, n: int) -> list[np.random.SeedSequence]:
    if seed < 0:
        raise SpaceError(f"seed {seed}, expected 0 or more")
    return np.random.SeedSequence(seed).spawn(n)
