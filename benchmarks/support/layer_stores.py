"""Layer stores on each engine, filled with models, for the workloads that ask them things."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.support.common import process_folder

if TYPE_CHECKING:
    import torch

    from bench_core.weight_transfer.graphs import ArchitectureGraph
    from bench_core.weight_transfer.records import ModelRecord
    from bench_core.weight_transfer.spaces.base import SearchSpace
    from bench_core.weight_transfer.store import LayerStore
    from bench_core.weight_transfer.stores.shard import Shard

ENGINES: Final = ("memory", "files", "lmdb", "redis")
"""Those of a layer store's shards. The Redis server keeps nothing on the disk."""
DURABLE: Final = ("files", "lmdb")
"""Engines whose every change is on the disk when the call returns."""
WIDTHS: Final = tuple(range(2, 12))
"""Of the layers: records of the usual size over tensors of a few numbers."""
LINE_LAYERS: Final = 10
"""Nodes of the models of `Lines`."""


class EngineStore:
    """A store of one shard on an engine, empty, in a folder of its own."""

    def __init__(self, engine: str, layers: int, seed: int) -> None:
        import numpy as np

        self.engine = engine
        self.random = np.random.default_rng(seed)
        self.space = small_space(layers)
        self.folder = Path(tempfile.mkdtemp(prefix="store-", dir=process_folder()))
        self._shard: Shard | None = None
        self.store = self.opened()

    def opened(self) -> LayerStore:
        """Open the store anew; the one before, if it has files, must be closed."""
        from bench_core.weight_transfer.store import LayerStore

        if self._shard is None or self.engine != "memory":
            self._shard = new_shard(self.engine, self.folder)
        self.store = LayerStore([self._shard])
        return self.store

    def another(self) -> LayerStore:
        """Return one more store over the same shard, that knows nothing of it yet."""
        from bench_core.weight_transfer.store import LayerStore

        return LayerStore(self.store.shards)


class FilledStore(EngineStore):
    """A store with ``n`` random models: records, and of model 0 the tensors, too."""

    def __init__(self, engine: str, n: int, layers: int, seed: int) -> None:
        from bench_core.weight_transfer.puts import new_record

        super().__init__(engine, layers, seed)
        self.rows = self.space.random(n, self.random)
        self.names: list[frozenset[bytes]] = []
        """Of each model's layers."""
        # One by one: the graphs of 60,000 models need gigabytes.
        for model, row in enumerate(self.rows):
            graph = self.space.build(row)
            self.names.append(frozenset(graph.names))
            if model == 0:
                self.store.put(model, graph, zeros(graph))
            else:
                self.store.put_meta(new_record(model, graph, None, accuracy=None, info=None))
        self.next_id = n

    def children(self, count: int) -> list[ModelRecord]:
        """Return records of new models that inherit half of their nodes' layers from model 0."""
        from bench_core.weight_transfer.prefix import by_intersection
        from bench_core.weight_transfer.puts import new_record

        donor = self.store.record(0)
        rows = self.space.random(count, self.random)
        half = rows.shape[1] // 2
        rows[:, :half] = self.rows[0, :half]
        made = []
        for row in rows:
            graph = self.space.build(row)
            given = (donor, by_intersection(donor.graph, graph))
            made.append(new_record(self.next_id, graph, given, accuracy=None, info=None))
            self.next_id += 1
        return made


class Lines(EngineStore):
    """A store with two lines of descent from model 0, each ``depth`` generations long.

    Models 1 to ``depth`` are one line, the next ``depth`` the other. Each child differs from its
    donor in one choice and inherits all layers before it.
    """

    def __init__(self, engine: str, depth: int, seed: int) -> None:
        super().__init__(engine, LINE_LAYERS, seed)
        root = self.space.random(1, self.random)
        graph = self.space.build(root[0])
        self.store.put(0, graph, zeros(graph))
        for first in (1, depth + 1):
            self._descend(root, range(first, first + depth))

    def _descend(self, row: Any, models: range) -> None:
        from bench_core.weight_transfer.mutation import mutate
        from bench_core.weight_transfer.prefix import Match, by_intersection

        donor, parent = 0, self.space.build(row[0])
        for model in models:
            row = mutate(self.space, row, self.random)
            child = self.space.build(row[0])
            positions = by_intersection(parent, child)
            own = zeros(child, [v for v in range(len(child)) if v not in positions])
            match = Match(donor, positions, len(positions))
            self.store.put(model, child, own, donor=match)
            donor, parent = model, child


def new_shard(engine: str, folder: Path) -> Shard:
    """Open the shard of an engine of `ENGINES`, or make it, in ``folder`` or under its name."""
    from bench_core.weight_transfer import stores
    from bench_core.weight_transfer.stores.redis_shard import RedisShard
    from benchmarks.support.loaders import RedisLoader

    if engine == "memory":
        return stores.MemoryShard()
    if engine == "redis":
        return RedisShard(RedisLoader(durable=False).address, prefix=folder.name)
    return stores.FileShard(folder) if engine == "files" else stores.LmdbShard(folder)


def small_space(layers: int) -> SearchSpace:
    """Return a space of chains of small layers."""
    from bench_core.weight_transfer import spaces

    return spaces.get("feed-forward", layers=layers, inputs=4, outputs=2, widths=WIDTHS)


def zeros(graph: ArchitectureGraph, positions: list[int] | None = None) -> dict[str, torch.Tensor]:
    """Return tensors for the layers at some positions, or all."""
    import torch

    specs = graph.tensors()
    return {
        name: torch.zeros(specs[name].shape, dtype=specs[name].dtype)
        for name in graph.tensor_ids(positions)
    }
