"""What each way of transferring weights costs a search for every model, phase by phase."""

from __future__ import annotations

import itertools
import multiprocessing
import shutil
import statistics
from collections.abc import Iterable, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, ClassVar, Final

from benchmarks.support.equal_stacks import new_folder, redis_url, store_url
from benchmarks.support.transfer_ranks import NETS, PHASES, RankResult, RankTask, answer, run_rank
from harness.benchmark import Benchmark
from harness.errors import RefusedError, WrongResultError
from harness.records import Param

METHODS: Final = (
    "noop",
    "file_safetensors",
    "file_hdf5",
    "redis_scan",
    "store_files",
    "store_lmdb",
    "store_redis",
)


class TransferCost(Benchmark):
    """The mean time that a model spends in a transfer method, from its naming to its storing.

    Random networks, ``small`` or ``shallow``, one after the other in each process; after each
    is named a donor is asked for and retained, what they have in common is fetched, frozen
    (``apply``), the model is stored until it is durable, and the donor is released. Building and
    first values are outside. ``noop`` stores nothing: the floor, to be subtracted. ``file_…`` knows
    one possible donor, the model before; the others search all. ``phases`` are means over all
    models of all processes, ``<phase>_p50_seconds`` and ``<phase>_p95_seconds`` percentiles. Every
    stored model is read back.
    """

    params = (METHODS, NETS, (1,), (20,), (100,), (5,), (1,))
    param_names = (
        "method",
        "net",
        "processes",
        "n_models",
        "max_layer_size",
        "max_layers",
        "scale",
    )
    quick: ClassVar[Mapping[str, Sequence[Param]] | None] = {
        "method": ("noop", "file_safetensors", "store_files")
    }
    unit = "seconds"
    timeout = 3600

    folder: Path

    def prepare(
        self,
        method: str,
        net: str,
        processes: int,
        n_models: int,
        max_layer_size: int,
        max_layers: int,
        scale: int,
    ) -> None:
        if processes < 1 or n_models < 1 or max_layer_size < 2 or max_layers < 2:
            raise RefusedError("expected a process and a model at least, sizes and layers above 1")
        self.folder = new_folder()
        self.opening = _opening(method, self.folder)
        self.tasks = [
            RankTask(
                self.opening, rank, net, n_models, max_layer_size, max_layers, scale, self.seed
            )
            for rank in range(processes)
        ]
        self.ranks: list[RankResult] = []

    def track_model(
        self,
        method: str,
        net: str,
        processes: int,
        n_models: int,
        max_layer_size: int,
        max_layers: int,
        scale: int,
    ) -> float:
        self.ranks = [run_rank(self.tasks[0])] if processes == 1 else run_ranks(self.tasks)
        per_phase = (self._seconds(phase) for phase in PHASES)
        return statistics.fmean(map(sum, zip(*per_phase, strict=True)))

    def verify(self) -> None:
        """Read every model back, and state the phases."""
        if self.opening["name"] != "noop":
            self._require_stored()
        layers = sum(rank.layers for rank in self.ranks)
        self.note(
            transferred_share=sum(rank.transferred for rank in self.ranks) / layers,
            phases={phase: statistics.fmean(self._seconds(phase)) for phase in PHASES},
            **dict(itertools.chain.from_iterable(map(self._percentiles, PHASES))),
        )

    def clean(self) -> None:
        """Remove what was stored."""
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder, ignore_errors=True)

    def _seconds(self, phase: str) -> list[float]:
        return [seconds for rank in self.ranks for seconds in rank.seconds[phase]]

    def _percentiles(self, phase: str) -> Iterable[tuple[str, float]]:
        import numpy as np

        seconds = self._seconds(phase)
        for percent in (50, 95):
            yield f"{phase}_p{percent}_seconds", float(np.percentile(seconds, percent))

    def _require_stored(self) -> None:
        from bench_core.models.digests import tensors_digest
        from bench_core.weight_transfer.methods import open_method

        with open_method(**self.opening) as method:
            for rank in self.ranks:
                for model, digest in rank.digests.items():
                    if tensors_digest(method.get(model)) != digest:
                        raise WrongResultError(f"model {model} is not what was stored")
            for model in method.models():
                method.retire(model)


def run_ranks(tasks: Sequence[RankTask]) -> list[RankResult]:
    """Do each task in a process of its own; they begin at once.

    Raises:
        WrongResultError: one of them failed; the text is its own.
    """
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(len(tasks))
    processes, connections = [], []
    for task in tasks:
        mine, theirs = context.Pipe(duplex=False)
        process = context.Process(target=answer, args=(task, barrier, theirs), daemon=True)
        process.start()
        theirs.close()  # or nobody would notice that the process has died
        processes.append(process)
        connections.append(mine)
    try:
        answers = [_received(connection) for connection in connections]
    finally:
        for process in processes:
            process.join()
    failed = [found for found in answers if isinstance(found, str)]
    if failed:
        raise WrongResultError(failed[0])
    return [found for found in answers if isinstance(found, RankResult)]


def _received(connection: Connection) -> RankResult | str:
    try:
        found: RankResult | str = connection.recv()
    except EOFError:
        return "a process died before it answered"
    return found


def _opening(method: str, folder: Path) -> dict[str, Any]:
    """Return the arguments of `open_method` for one of `METHODS`."""
    name, _, variant = method.partition("_")
    if method not in METHODS:
        raise RefusedError(f"no method {method!r}, expected one of {', '.join(METHODS)}")
    if name == "noop":
        return {"name": name}
    if name == "file":
        return {"name": name, "folder": folder, "format": variant}
    if name == "redis":
        return {"name": method, "folder": folder, "servers": [redis_url(folder)]}
    return {"name": name, "servers": [store_url(variant, folder)]}
