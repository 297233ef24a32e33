"""Measures `best_prefix_collective` on the ranks that it is started on.

For example::

    mpiexec -n 4 python -m bench_core.weight_transfer.stores.mpi_query --models 10000

prints as JSON how long each query took, with the ranks waiting for each other before it, and how
long it takes one index of all models in one process. Both must give the same answers.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bench_core.errors import BenchCoreError
from bench_core.optional import require
from bench_core.weight_transfer import spaces
from bench_core.weight_transfer.errors import StoreError
from bench_core.weight_transfer.graphs import ArchitectureGraph
from bench_core.weight_transfer.mutation import mutate
from bench_core.weight_transfer.prefix import MEASURES, Match
from bench_core.weight_transfer.prefix_index import PrefixIndex
from bench_core.weight_transfer.spaces.base import Archs, SearchSpace
from bench_core.weight_transfer.stores.mpi_collective import best_prefix_collective


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command on this rank; rank 0 prints. Return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        comm = require("mpi4py.MPI", "mpi").COMM_WORLD
        measured = _measured(comm, options)
        if comm.Get_rank() == 0:
            print(json.dumps(measured))
    except BenchCoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _measured(comm: Any, options: argparse.Namespace) -> dict[str, Any]:
    space = spaces.get(options.space)
    rng = np.random.default_rng(options.seed)
    models = space.random(options.models, rng)
    accuracies = rng.random(options.models).round(2)  # coarse, so that some are equal
    parents = models[rng.integers(options.models, size=options.warm_up + options.queries)]
    graphs = [space.build(child) for child in mutate(space, parents, rng)]

    rank, size = comm.Get_rank(), comm.Get_size()
    own = _index(space, models, accuracies, range(rank, options.models, size))
    spread = _answers(
        graphs,
        lambda graph: best_prefix_collective(comm, own, graph, options.measure),
        comm.Barrier,
    )
    if rank:
        return {}
    whole = _index(space, models, accuracies, range(options.models))
    single = _answers(graphs, lambda graph: whole.best(graph, options.measure), lambda: None)
    for number, ((found, _), (expected, _)) in enumerate(zip(spread, single, strict=True)):
        if found != expected:
            raise StoreError(f"query {number}: {size} ranks found {found}, one index {expected}")
    query_ns = [ns for _, ns in spread[options.warm_up :]]
    single_ns = [ns for _, ns in single[options.warm_up :]]
    return {
        "ranks": size,
        **vars(options),
        "median_query_ns": statistics.median(query_ns),
        "median_single_ns": statistics.median(single_ns),
        "query_ns": query_ns,
        "single_ns": single_ns,
    }


def _index(
    space: SearchSpace, models: Archs, accuracies: npt.NDArray[np.float64], ids: range
) -> PrefixIndex:
    index = PrefixIndex()
    for model in ids:
        index.add(model, space.build(models[model]).names, float(accuracies[model]))
    return index


def _answers(
    graphs: Sequence[ArchitectureGraph],
    ask: Callable[[ArchitectureGraph], Match | None],
    before: Callable[[], None],
) -> list[tuple[Match | None, int]]:
    """Return each graph's answer and its nanoseconds; names are made before the clock starts."""
    found = []
    for graph in graphs:
        _ = graph.names, graph.cones
        before()
        started = time.perf_counter_ns()
        match = ask(graph)
        found.append((match, time.perf_counter_ns() - started))
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mpi_query", description="Measure prefix queries over MPI ranks."
    )
    parser.add_argument("--models", type=_positive, default=10_000, help="stored, over all ranks")
    parser.add_argument("--queries", type=_positive, default=1_000, help="children of some of them")
    parser.add_argument(
        "--warm-up", type=_natural, default=20, help="queries before that, not counted"
    )
    parser.add_argument("--space", default="feed-forward", help=", ".join(spaces.names()))
    parser.add_argument("--measure", choices=MEASURES, default="layers")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def _positive(text: str) -> int:
    return _at_least(1, text)


def _natural(text: str) -> int:
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    number = int(text)
    if number < least:
        raise argparse.ArgumentTypeError(f"{number}, expected {least} or more")
    return number


if __name__ == "__main__":
    sys.exit(main())
