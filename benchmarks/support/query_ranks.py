"""Ranks of MPI that ask all of them together for donors, and what each of them does.

Each is given its task as JSON in an argument. The first prints what was found: how long each query
took, with the ranks waiting for each other before it, and how long one index of all models in one
process takes. Both must give the same answers.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from benchmarks.support.child_processes import library_file
from harness.errors import WrongResultError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from bench_core.weight_transfer.graphs import ArchitectureGraph
    from bench_core.weight_transfer.prefix import Match
    from bench_core.weight_transfer.prefix_index import PrefixIndex
    from bench_core.weight_transfer.spaces.base import Archs, SearchSpace

WARM_UP: Final = 20
"""Queries before those that count."""


def main(arguments: Sequence[str]) -> int:
    """Be one rank: see the module. Return the exit status."""
    from bench_core.errors import BenchCoreError
    from bench_core.optional import require

    try:
        comm = require("mpi4py.MPI", "mpi").COMM_WORLD
        measured = _measured(comm, **json.loads(arguments[0]))
    except (BenchCoreError, WrongResultError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if measured is not None:
        print(json.dumps(measured))
    return 0


def _measured(comm: Any, space: str, models: int, queries: int, seed: int) -> dict[str, Any] | None:
    """Return what the first rank prints, and None on the others."""
    import numpy as np

    from bench_core.weight_transfer import spaces
    from bench_core.weight_transfer.mutation import mutate
    from bench_core.weight_transfer.stores.mpi_collective import best_prefix_collective

    searched, rng = spaces.get(space), np.random.default_rng(seed)
    archs = searched.random(models, rng)
    accuracies = rng.random(models).round(2)  # coarse, so that some are equal
    parents = archs[rng.integers(models, size=WARM_UP + queries)]
    graphs = [searched.build(child) for child in mutate(searched, parents, rng)]

    rank, size = comm.Get_rank(), comm.Get_size()
    libraries = comm.gather(library_file())
    own = _index(searched, archs, accuracies, range(rank, models, size))
    spread = _answers(graphs, lambda graph: best_prefix_collective(comm, own, graph), comm.Barrier)
    if rank:
        return None
    whole = _index(searched, archs, accuracies, range(models))
    single = _answers(graphs, whole.best, lambda: None)
    for number, ((found, _), (expected, _)) in enumerate(zip(spread, single, strict=True)):
        if found != expected:
            raise WrongResultError(
                f"query {number}: {size} ranks found {found}, one index {expected}"
            )
    query_ns, single_ns = ([ns for _, ns in one[WARM_UP:]] for one in (spread, single))
    return {
        "ranks": size,
        "libraries": libraries,
        "median_query_ns": statistics.median(query_ns),
        "median_single_ns": statistics.median(single_ns),
        "query_ns": query_ns,
    }


def _index(
    space: SearchSpace, archs: Archs, accuracies: npt.NDArray[np.float64], ids: range
) -> PrefixIndex:
    from bench_core.weight_transfer.prefix_index import PrefixIndex

    index = PrefixIndex()
    for model in ids:
        index.add(model, space.build(archs[model]).names, float(accuracies[model]))
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
