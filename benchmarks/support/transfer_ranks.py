"""One process of the bench of transfer methods: random networks, each named, filled and stored."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np

    from bench_core.weight_transfer import ArchitectureGraph, Network
    from bench_core.weight_transfer.methods import TransferMethod

PHASES: Final = ("name", "query", "fetch", "apply", "store", "release")
NETS: Final = ("small", "shallow")
INPUTS: Final = 32
IDS_A_RANK: Final = 1 << 32
START_SECONDS: Final = 120


@dataclass(frozen=True)
class RankTask:
    """What a process has to do; plain data."""

    method: Mapping[str, Any]
    """Arguments of `bench_core.weight_transfer.methods.open_method`."""
    rank: int
    net: str
    n_models: int
    max_layer_size: int
    max_layers: int
    scale: int
    seed: int


@dataclass(frozen=True)
class RankResult:
    """What came of it."""

    seconds: Mapping[str, list[float]]
    """Of each phase, for each model."""
    digests: Mapping[int, bytes]
    """Of each model's tensors when it was stored."""
    layers: int
    """Of all models together, and how many of them were transferred."""
    transferred: int


def run_rank(task: RankTask, barrier: Barrier | None = None) -> RankResult:
    """Do the task; where there is a barrier, all begin at once when everything is imported.

    Each model in turn: named; a donor is asked for and retained; what they have in common is
    fetched into the network; these layers are frozen; the model is stored with its donor; the
    donor is released. The hint is the model before.
    """
    import numpy as np

    from bench_core.models.digests import tensors_digest
    from bench_core.weight_transfer import materialise
    from bench_core.weight_transfer.methods import open_method

    rng = np.random.default_rng(np.random.SeedSequence([task.seed, task.rank]))
    found: dict[str, list[float]] = {phase: [] for phase in PHASES}
    digests: dict[int, bytes] = {}
    layers = transferred = 0
    with open_method(**task.method) as method:
        if barrier is not None:
            barrier.wait(START_SECONDS)
        for number in range(task.n_models):
            model, (width, count) = task.rank * IDS_A_RANK + number, drawn_net(task, rng)
            network = materialise(dense_net(width, count), seed=model)
            hint = model - 1 if number else None
            # A graph computes its names once, and the network's has done so: this one is to.
            stamps, positions = _transfer(method, dense_net(width, count), network, model, hint)
            for phase, (before, after) in zip(PHASES, itertools.pairwise(stamps), strict=True):
                found[phase].append((after - before) / 1e9)
            digests[model] = tensors_digest(network.state_dict())
            layers, transferred = layers + count, transferred + len(positions)
    return RankResult(found, digests, layers, transferred)


def answer(task: RankTask, barrier: Barrier, connection: Connection) -> None:
    """Do the task in a process of its own, and send what came of it, or what went wrong."""
    try:
        connection.send(run_rank(task, barrier))
    except Exception as error:
        barrier.abort()  # the others would wait for this process
        connection.send(f"process {task.rank}: {type(error).__name__}: {error}")


def drawn_net(task: RankTask, rng: np.random.Generator) -> tuple[int, int]:
    """Draw width and number of layers: ``small`` is one dense layer, ``shallow`` several.

    Widths are drawn from 1 to ``max_layer_size`` - 1, times ``scale``, numbers of layers from 1 to
    ``max_layers`` - 1, as in the bench of the artifact of "EvoStore" (HPDC 2024).
    """
    width = int(rng.integers(1, task.max_layer_size)) * task.scale
    return width, int(rng.integers(1, task.max_layers)) if task.net == "shallow" else 1


def dense_net(width: int, count: int) -> ArchitectureGraph:
    """Return a chain of dense layers of one width."""
    from bench_core.weight_transfer import sequential
    from bench_core.weight_transfer.layers import dense

    return sequential([dense((INPUTS,), width), *[dense((width,), width)] * (count - 1)])


def _transfer(
    method: TransferMethod,
    graph: ArchitectureGraph,
    network: Network,
    model: int,
    hint: int | None,
) -> tuple[list[int], tuple[int, ...]]:
    """Take one model through all phases; return the stamps around them, and what it was given."""
    tensors = network.state_dict()
    stamps = [time.perf_counter_ns()]
    _ = graph.names
    stamps.append(time.perf_counter_ns())
    match, pin = method.retain_best(graph, hint=hint)
    stamps.append(time.perf_counter_ns())
    if match is not None:
        method.fetch(match, graph, tensors)
    stamps.append(time.perf_counter_ns())
    if match is not None:
        network.freeze(match.positions)
    stamps.append(time.perf_counter_ns())
    method.store(model, graph, tensors, match=match)
    stamps.append(time.perf_counter_ns())
    if match is not None:
        method.release(match.donor, pin)
    stamps.append(time.perf_counter_ns())
    return stamps, () if match is None else match.positions
