"""How fast a model is stored that shares layers with another: what changed, or the whole file."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks.storage_writes import durable_seconds
from benchmarks.support.common import Tensors, process_folder, require_equal
from benchmarks.support.equal_stacks import (
    MIB,
    STORE_ENGINES,
    bytes_at,
    equal_stack,
    names_of,
    new_folder,
    open_store,
    random_model,
)
from benchmarks.support.loaders import Loader, loader
from harness.benchmark import Benchmark
from harness.errors import InputError, RefusedError
from harness.records import Param

if TYPE_CHECKING:
    import torch

    from bench_core.weight_transfer import ArchitectureGraph, LayerStore, Match
    from harness.limits import Limits

FILES: Final = ("safetensors", "hdf5", "direct")
WAYS: Final = (*(f"store_{engine}" for engine in STORE_ENGINES), *FILES)
"""The layer store on each of its engines; formats that write each model to a file of its own."""
SHARES: Final = (0, 1, 10, 25, 50, 75, 100)
PLACES: Final = ("last", "first", "scattered")
LAYERS: Final = 100
_PARENT: Final = 0


class Filled(NamedTuple):
    """A store that holds the parent, and ids for its children."""

    store: LayerStore
    ids: Iterator[int]


def changed_positions(share: float, place: str, layers: int) -> tuple[int, ...]:
    """Return which layers of `equal_stack` are changed.

    Args:
        share: percent of the equal layers, rounded; 100 is all, the narrow first one, too.
        place: ``first`` or ``last`` of them, or ``scattered`` evenly over all.
        layers: number of the equal ones.

    Raises:
        RefusedError: there is no such share or place.
    """
    if not 0 <= share <= 100 or place not in PLACES:
        raise RefusedError(
            f"{share} % of the {place} layers; expected 0 to 100 % of the {', '.join(PLACES)} ones"
        )
    if share == 100:
        return tuple(range(layers + 1))
    count = round(share * layers / 100)
    if place == "first":
        return tuple(range(1, count + 1))
    if place == "last":
        return tuple(range(layers + 1 - count, layers + 1))
    return tuple(1 + (2 * index + 1) * layers // (2 * count) for index in range(count))


class PutBenchmark(Benchmark):
    """Base of what stores a child of a model: of the same architecture, some layers changed.

    All equal layers are of one shape, so a changed one takes the values of the layer after it:
    other bytes, and no second model in memory.
    """

    timeout = 600
    graph: ArchitectureGraph
    parent: dict[str, torch.Tensor]
    target: Filled

    def prepare_parent(self, mebibytes: int, layers: int) -> None:
        """Build the model that all children derive from."""
        nbytes = mebibytes * MIB
        self.graph = equal_stack(nbytes, layers)
        self.parent = self.cached(
            ("parent", nbytes, layers, self.seed), lambda: random_model(self.graph, self.seed)
        )

    def filled(self, engine: str) -> Filled:
        """Return a store that holds the parent."""
        key = ("store of a parent", engine, self.graph.nbytes, len(self.graph), self.seed)
        return self.cached(key, lambda: self._fill(engine))

    def child(self, changed: Sequence[int]) -> dict[str, torch.Tensor]:
        """Return the tensors of a model that differs from the parent at these positions."""
        child = dict(self.parent)
        last = len(self.graph) - 1
        for position in changed:
            if position == 0:
                child |= {n: -self.parent[n] for n in names_of(self.graph, [0])}
                continue
            other = position + 1 if position < last else 1
            mine, theirs = (names_of(self.graph, [v]) for v in (position, other))
            child |= {name: self.parent[of] for name, of in zip(mine, theirs, strict=True)}
        return child

    def donor(self, changed: Sequence[int]) -> Match:
        """Return the parent as the donor of all layers that are not changed."""
        from bench_core.weight_transfer import Match

        kept = tuple(sorted(set(range(len(self.graph))) - set(changed)))
        return Match(_PARENT, kept, len(kept))

    def retire(self, model: int) -> None:
        """Retire a child, if it got as far as into the store."""
        if self.target.store.is_live(model):
            self.target.store.retire(model)

    def _fill(self, engine: str) -> Filled:
        store = open_store(engine, new_folder())
        store.put(_PARENT, self.graph, self.parent)
        return Filled(store, itertools.count(_PARENT + 1))


class ChildWrite(PutBenchmark):
    """Inside the clock: one call that stores a child in memory, until it is durable.

    ``share`` percent of 100 equal layers differ from the parent's. The child has its parent's
    architecture and those layers were trained further: only so any layers can be the changed ones.
    Between two architectures all that lies behind the first difference is named anew and has to
    be stored, which is ``last``. ``store_…`` puts the changed layers and inherits the others, from
    a parent that is there already; in ``store_memory`` nothing is durable. The formats write all
    layers to a file of the child's own, with ``fsync_dir``. Bytes, and so GB/s, are those of the
    changed layers, which is what has to be stored; the published "effective" bandwidth is
    ``logical_gb_per_s``: all bytes of the model, the unwritten ones, too. ``written_bytes`` is what
    went to storage. Ideal: the changed bytes at the probed bandwidth of a durable write to a new
    file, and no less than one fsync; in memory none.
    """

    params = (WAYS, (0, 25, 100), ("last", "scattered"), (2,), (LAYERS,))
    param_names = ("way", "share", "place", "mebibytes", "layers")
    quick = {"way": ("store_files", "safetensors"), "share": (25,)}
    open_params = ("place",)

    way: str
    changed: tuple[int, ...]
    tensors: dict[str, torch.Tensor]
    loader: Loader
    path: Path
    is_store = False
    model: int

    @classmethod
    def check_param(cls, name: str, value: Param) -> None:
        """Raise where an experiment names a place that does not exist."""
        if value not in PLACES:
            raise InputError(f"unknown {name} {value!r}; expected one of {', '.join(PLACES)}")

    @classmethod
    def planned_bytes(cls, **params: Param) -> int:
        """Return the bytes of the changed layers."""
        layers = int(params["layers"])
        graph = equal_stack(int(params["mebibytes"]) * MIB, layers)
        changed = changed_positions(float(params["share"]), str(params["place"]), layers)
        return bytes_at(graph, changed)

    def prepare(self, way: str, share: float, place: str, mebibytes: int, layers: int) -> None:
        from bench_core.formats import Durability

        self.way = way
        self.changed = changed_positions(share, place, layers)
        self.prepare_parent(mebibytes, layers)
        self.tensors = self.child(self.changed)
        self.is_store = way.startswith("store_")
        if self.is_store:
            self.target = self.filled(way.removeprefix("store_"))
            self.model = next(self.target.ids)
            self.own = {n: self.tensors[n] for n in names_of(self.graph, self.changed)}
            self.match = self.donor(self.changed)
            return
        self.durability = Durability.FSYNC_DIR
        self.loader = loader(way)
        self.path = process_folder() / f"written_child{self.loader.format.suffix}"

    def time_write(self, way: str, share: float, place: str, mebibytes: int, layers: int) -> object:
        if self.is_store:
            return self.target.store.put(self.model, self.graph, self.own, donor=self.match)
        return self.loader.format.write(self.tensors, self.path, self.durability)

    def needed_bytes(self) -> int:
        return bytes_at(self.graph, self.changed)

    def ideal_seconds(self, limits: Limits) -> float | None:
        if self.way == "store_memory":
            return None
        return durable_put_seconds(limits, self.needed_bytes())

    def verify(self) -> None:
        """Read the whole child back."""
        written, seconds = self.result.bytes_physical, self.timer.seconds
        self.note(written_bytes=written, logical_bytes=self.graph.nbytes)
        if seconds:
            self.note(
                logical_gb_per_s=self.graph.nbytes / seconds / 1e9,
                physical_gb_per_s=written / seconds / 1e9,
            )
        require_equal(self._read_back(), self.tensors)

    def clean(self) -> None:
        """Retire the child, or remove its file."""
        if self.is_store:
            self.retire(self.model)
        elif hasattr(self, "path"):
            self.loader.remove(self.path)

    def _read_back(self) -> Tensors:
        return self.target.store.get(self.model) if self.is_store else self.loader.load(self.path)


def durable_put_seconds(limits: Limits, nbytes: int) -> float | None:
    """Return the least time of a durable write of so many bytes: no less than one fsync."""
    seconds, sync = durable_seconds(limits, nbytes), limits.seconds("fsync_seconds", 1)
    return None if seconds is None or sync is None else max(seconds, sync)
