"""The metadata of a layer store: records put, stores opened, donors found, lines of descent."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from benchmarks.support.layer_stores import DURABLE, ENGINES, FilledStore, Lines
from benchmarks.support.query_times import latencies, timed
from harness.benchmark import Benchmark
from harness.errors import WrongResultError

if TYPE_CHECKING:
    from bench_core.weight_transfer.records import ModelRecord
    from bench_core.weight_transfer.store import LayerStore
    from harness.limits import Limits

N_MODELS: Final = (1_000, 10_000)
"""Of the classes; experiments go up to 60,000."""
PUTS: Final = 50
"""Records that one sample puts."""
ASKED: Final = 50
"""Queries of one sample."""
QUESTIONS: Final = ("owner_map", "ancestry", "common_ancestor")
WALKED: Final = 200
"""Generations that a sample of `Lineage` walks at least."""


class StoreBenchmark(Benchmark):
    """Base of the workloads over a store of ``n_models`` models, filled once a process."""

    params = (ENGINES, N_MODELS, (30,))
    param_names = ("engine", "n_models", "layers")
    quick = {"engine": ("memory", "files")}
    unit = "seconds"
    timeout = 1800

    def filled_store(self, engine: str, n_models: int, layers: int) -> FilledStore:
        """Return the store of an engine; no other class uses it."""
        key = (type(self).__name__, engine, n_models, layers, self.seed)
        return self.cached(key, lambda: FilledStore(*key[1:]))


class PutMeta(StoreBenchmark):
    """Inside the clock: `LayerStore.put_meta` of 50 new models, one by one; seconds a model.

    Each inherits half of its nodes from a donor, so that these tensors are held before its record
    appears; its own bytes are taken to be stored. The records are made before, and retired after
    the check, so that there are always ``n_models`` live ones. What is checked: every record comes
    back as it was, and all models are there. Of the engines ``memory`` alone is not durable when
    the call returns.
    Ideal: of the durable ones an fsync a model; nothing but the interpreter bounds the others.
    """

    children: Sequence[ModelRecord] = ()

    def prepare(self, engine: str, n_models: int, layers: int) -> None:
        self.is_durable = engine in DURABLE
        self.filled = self.filled_store(engine, n_models, layers)
        self.store = self.filled.store
        self.children = self.filled.children(PUTS)

    def track_put(self, engine: str, n_models: int, layers: int) -> float:
        began = time.perf_counter()
        for record in self.children:
            self.store.put_meta(record)
        return (time.perf_counter() - began) / PUTS

    def ideal_seconds(self, limits: Limits) -> float | None:
        return limits.seconds("fsync_seconds", 1) if self.is_durable else None

    def verify(self) -> None:
        live = set(self.store.models())
        for record in self.children:
            if record.id not in live or self.store.record(record.id) != record:
                raise WrongResultError(f"model {record.id} is not there as it was put")
        self.note(puts_per_second=1 / self.result)

    def clean(self) -> None:
        """Retire what this sample has put."""
        live = set(self.store.models()) if self.children else ()
        for record in self.children:
            if record.id in live:
                self.store.retire(record.id)


class OpenStore(StoreBenchmark):
    """Inside the clock: open a store that has models, and fill its index from the history.

    It was closed before, but written by this process, so that its files are in the page cache;
    ``memory`` only fills a new index from a shard that is there. What is checked: the last model
    is its own best donor, or an equal one with a smaller id is. Ideal: none, for the index is made
    of the interpreter's objects.
    """

    def prepare(self, engine: str, n_models: int, layers: int) -> None:
        self.filled = self.filled_store(engine, n_models, layers)
        if engine != "memory":
            self.filled.store.close()

    def time_open(self, engine: str, n_models: int, layers: int) -> Any:
        store = self.filled.opened()
        store.refresh()
        return store

    def verify(self) -> None:
        graph = self.filled.space.build(self.filled.rows[-1])
        match = self.result.best_prefix(graph)
        if match is None or len(match.positions) != len(graph):
            raise WrongResultError(f"the last of the models is not found, but {match}")
        self.note(models_per_second=len(self.filled.rows) / (self.timer.seconds or 1))


class StoreQuery(StoreBenchmark):
    """Inside the clock: one `LayerStore.best_prefix`, which first asks the engine for what is new.

    The median over 50 queries, each by itself, after the index has been filled; the 99th percentile
    is in the extra. The children share half of their nodes with model 0. What is checked: the donor
    has as many of a child's layers as the best of all models, compared one by one. No bandwidth
    bounds a look-up: there is no ideal time.
    """

    def prepare(self, engine: str, n_models: int, layers: int) -> None:
        self.filled = self.filled_store(engine, n_models, layers)
        self.graphs = [record.graph for record in self.filled.children(ASKED)]
        self.names = [frozenset(graph.names) for graph in self.graphs]
        self.filled.store.refresh()

    def track_query(self, engine: str, n_models: int, layers: int) -> float:
        self.found, self.taken = timed(self.filled.store.best_prefix, self.graphs)
        return statistics.median(self.taken)

    def verify(self) -> None:
        for names, match in zip(self.names, self.found, strict=True):
            most = max(len(names & model) for model in self.filled.names)
            if match is None or match.score != most:
                raise WrongResultError(f"{match} was found, the best has {most} layers")
        self.note(**latencies(self.taken))


class Lineage(Benchmark):
    """Inside the clock: one question about a model with ``depth`` ancestors, in seconds.

    ``owner_map``: who owns each of its tensors, from its own record whatever its depth.
    ``ancestry``: all its ancestors, a look-up each. ``common_ancestor``: the latest one that it has
    in common with a model of another line as long, two look-ups a generation. Records are ``asked``
    of the engine, by a store that was just opened, or ``known`` to the store from before. Asked
    again until some 200 generations were walked, and the mean taken. What is checked: the known
    ancestors, and an owner of every tensor among them. Nothing but the interpreter and the
    engine's look-ups bounds it: there is no ideal time.
    """

    params = (QUESTIONS, ENGINES, (1, 10, 100, 1_000), ("asked", "known"))
    param_names = ("question", "engine", "depth", "records")
    quick = {"question": QUESTIONS, "depth": (10,)}
    unit = "seconds"
    timeout = 1800

    def prepare(self, question: str, engine: str, depth: int, records: str) -> None:
        key = ("lines", engine, depth, self.seed)
        lines = self.cached(key, lambda: Lines(*key[1:]))
        self.store, self.question, self.depth = lines.store, question, depth
        ask = _QUESTIONS[question]
        times = WALKED if question == "owner_map" else max(1, WALKED // depth)
        if records == "known":
            ask(self.store, depth)
            stores = [self.store] * times
        else:
            stores = [lines.another() for _ in range(times)]
        self.asks = [functools.partial(ask, store, depth) for store in stores]

    def track_question(self, question: str, engine: str, depth: int, records: str) -> float:
        began = time.perf_counter()
        for ask in self.asks:
            self.answer = ask()
        return (time.perf_counter() - began) / len(self.asks)

    def verify(self) -> None:
        line = range(self.depth, -1, -1)
        if self.question == "owner_map":
            is_right = set(self.answer.values()) <= set(line) and self._has_all_tensors()
        elif self.question == "ancestry":
            is_right = self.answer == tuple(line[1:])
        else:
            is_right = self.answer == 0
        if not is_right:
            raise WrongResultError(f"{self.question} of model {self.depth}: {self.answer}")
        if self.question == "owner_map":
            self.note(owners=len(set(self.answer.values())))

    def _has_all_tensors(self) -> bool:
        expected = self.store.record(self.depth).graph.tensor_ids().values()
        return set(self.answer) == set(expected)


def _owner_map(store: LayerStore, depth: int) -> Any:
    return store.owner_map(depth)


def _ancestry(store: LayerStore, depth: int) -> Any:
    from bench_core.weight_transfer.lineage import ancestry

    return ancestry(store, depth)


def _common_ancestor(store: LayerStore, depth: int) -> Any:
    from bench_core.weight_transfer.lineage import most_recent_common_ancestor

    return most_recent_common_ancestor(store, depth, 2 * depth)


_QUESTIONS: Final[dict[str, Callable[[LayerStore, int], Any]]] = {
    "owner_map": _owner_map,
    "ancestry": _ancestry,
    "common_ancestor": _common_ancestor,
}
