"""The longest common prefix over models that are spread over MPI ranks: broadcast and reduce."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from bench_core.errors import BenchCoreError
from bench_core.optional import require
from bench_core.weight_transfer.errors import StoreError
from bench_core.weight_transfer.graphs import ArchitectureGraph
from bench_core.weight_transfer.prefix import Match, Measure
from bench_core.weight_transfer.prefix_index import PrefixIndex
from bench_core.weight_transfer.prefix_query import PrefixQuery, decode_answer, no_answer


def best_prefix_collective(
    comm: Any,
    index: PrefixIndex,
    graph: ArchitectureGraph | None,
    measure: Measure = "layers",
    root: int = 0,
) -> Match | None:
    """Return on all ranks the best donor of the root's architecture among all ranks' models.

    All ranks call it, without other calls in between. 25 bytes a layer are broadcast, and 25 bytes
    and a bit a layer reduced: a pickled answer takes ten times as long as the search itself.

    Args:
        comm: of any number of ranks; in it MPI waits busily.
        index: of this rank's own models; an id lies with one rank, such as ``id mod size``.
        graph: the root's; that of other ranks is not looked at.
        measure: the root's.
        root: which rank asks.

    Raises:
        UnknownNameError: on all ranks, the root's measure is none.
        StoreError: on all ranks, the root has no graph.
    """
    mpi: Any = require("mpi4py.MPI", "mpi")
    query = _broadcast(comm, graph, measure, root)
    answer = index.answer(query)
    n_layers = len(query.names)
    best = bytearray(no_answer(n_layers) if answer is None else answer.encode(n_layers))
    with _as_one(mpi, len(best)) as (datatype, larger):
        comm.Allreduce(mpi.IN_PLACE, [best, 1, datatype], larger)
    found = decode_answer(bytes(best))
    return None if found is None else found.match


def _broadcast(
    comm: Any, graph: ArchitectureGraph | None, measure: Measure, root: int
) -> PrefixQuery:
    """Return the root's query, or raise everywhere why there is none."""
    length = np.zeros(1, np.int64)
    query, data, error = None, bytearray(), None
    if comm.Get_rank() == root:
        try:
            if graph is None:
                raise StoreError(f"rank {root} asks for a donor, but gave no architecture")
            query = PrefixQuery.of(graph, measure)
            data = bytearray(query.encode())
            length[0] = len(data)
        except BenchCoreError as failure:
            error, length[0] = failure, -1
    comm.Bcast(length, root)
    if length[0] < 0:
        raise comm.bcast(error, root)
    data = data or bytearray(int(length[0]))
    comm.Bcast(data, root)
    return PrefixQuery.decode(bytes(data)) if query is None else query


@contextmanager
def _as_one(mpi: Any, nbytes: int) -> Iterator[tuple[Any, Any]]:
    """Give a type of so many bytes, which no algorithm cuts, and an operation: the larger one."""
    datatype = mpi.BYTE.Create_contiguous(nbytes).Commit()
    larger = mpi.Op.Create(_keep_the_larger, commute=True)
    try:
        yield datatype, larger
    finally:
        larger.Free()
        datatype.Free()


def _keep_the_larger(one: Any, other: Any, datatype: Any) -> None:
    size = datatype.Get_size()
    for start in range(0, len(other), size):
        piece = slice(start, start + size)
        if bytes(one[piece]) > bytes(other[piece]):
            other[piece] = one[piece]
