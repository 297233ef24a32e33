"""Random populations and their children: the same for any number of workers, and resumable.

From the command line, on several processes where MPI and mpi4py are installed::

    python -m bench_core.weight_transfer.population dense-skip 60000 out.npz --evolve 10000
    mpiexec -n 3 python -m mpi4py.futures -m bench_core.weight_transfer.population \\
        dense-skip 60000 out.npz --mpi
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from bench_core.errors import BenchCoreError
from bench_core.optional import require
from bench_core.weight_transfer import population_chunks as chunks
from bench_core.weight_transfer import spaces
from bench_core.weight_transfer.population_files import Population, load
from bench_core.weight_transfer.spaces.base import SearchSpace

__all__ = ["Population", "evolve", "generate", "load", "main"]


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Generate, evolve and save a population as the command line says; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        _run(options)
    except BenchCoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _run(options: argparse.Namespace) -> None:
    space = spaces.get(options.space, **dict(options.set))
    with ExitStack() as stack:
        executor = stack.enter_context(_mpi_pool()) if options.mpi else None
        where: dict[str, Any] = {
            "workers": options.workers,
            "folder": options.folder,
            "executor": executor,
        }
        population = generate(space, options.n, options.seed, **where)
        if options.evolve:
            seed = options.seed + 1
            population = evolve(population, options.evolve, seed, beta=options.beta, **where)
        population.save(options.path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="population", description="Generate a population.")
    parser.add_argument("space", help=", ".join(spaces.names()))
    parser.add_argument("n", type=int, help="how many architectures")
    parser.add_argument("path", type=Path, help="where to save them, a file .npz")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--evolve", type=int, default=0, help="replace so many by their children")
    parser.add_argument("--beta", type=float, help="of the mutations; 1 or more")
    parser.add_argument("--workers", type=int, default=1, help="threads")
    parser.add_argument("--folder", type=Path, help="keeps finished chunks, to go on after a stop")
    parser.add_argument("--mpi", action="store_true", help="run under python -m mpi4py.futures")
    parser.add_argument(
        "--set",
        type=_setting,
        action="append",
        default=[],
        metavar="NAME=JSON",
        help="a setting of the space, as layers=4",
    )
    return parser


def _setting(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}, expected NAME=JSON, as layers=4") from None


def _mpi_pool() -> Executor:
    pool: Executor = require("mpi4py.futures", "mpi").MPIPoolExecutor()
    return pool


if __name__ == "__main__":
    sys.exit(main())
