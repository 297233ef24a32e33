"""Populations made chunk by chunk: each has its own random numbers and, where asked, its file."""

from __future__ import annotations

import hashlib
import itertools
from concurrent.futures import Executor, ThreadPoolExecutor
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
        rows = self._rows()
        made = Population(self.space, rows, prefix_names(rows))
        if self.path is not None:
            made.save(self.path)
        return made

    def make_into(self, whole: Population, start: int) -> None:
        """Put the rows into a population, from ``start`` on."""
        place = slice(start, start + self.size)
        if self.path is None:
            whole.archs[place] = self._rows()
            prefix_names(whole.archs[place], out=whole.names[place])
        else:
            put(self.make(), whole, start)

    def _rows(self) -> Archs:
        rng = np.random.default_rng(self.seed)
        if self.parents is None:
            return self.space.random(self.size, rng)
        return mutate(self.space, self.parents, rng, self.beta)

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


def fill(
    whole: Population,
    chunks: list[Chunk],
    workers: int,
    folder: Path | None,
    executor: Executor | None,
) -> None:
    """Make the chunks, and put their rows one after the other into a population from the first on.

    Threads, not processes: numpy lets go of the interpreter, no rows are sent anywhere, and each
    thread touches its own part of the memory first.

    Args:
        whole: at least as many rows as the chunks have.
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
    starts = [0, *itertools.accumulate(chunk.size for chunk in chunks)][: len(chunks)]
    if executor is not None:
        for start, made in zip(starts, executor.map(Chunk.make, chunks), strict=True):
            put(made, whole, start)
    elif workers == 1:
        for start, chunk in zip(starts, chunks, strict=True):
            chunk.make_into(whole, start)
    else:
        with ThreadPoolExecutor(workers) as pool:
            # The list raises what a thread has raised.
            list(pool.map(lambda chunk, start: chunk.make_into(whole, start), chunks, starts))


def put(part: Population, whole: Population, start: int) -> None:
    """Copy a population's rows into a larger one, from ``start`` on."""
    place = slice(start, start + len(part))
    whole.archs[place], whole.names[place] = part.archs, part.names


def _sizes(n: int) -> list[int]:
    if n < 0:
        raise SpaceError(f"{n} architectures, expected 0 or more")
    return [min(CHUNK, n - start) for start in range(0, n, CHUNK)]


def _seeds(seed: int, n: int) -> list[np.random.SeedSequence]:
    if seed < 0:
        raise SpaceError(f"seed {seed}, expected 0 or more")
    return np.random.SeedSequence(seed).spawn(n)
