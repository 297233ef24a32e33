"""How a population that evolves is stored: each layer once, or each model whole."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from benchmarks.incremental_puts import durable_put_seconds
from benchmarks.support.common import Tensors, require_equal
from benchmarks.support.equal_stacks import (
    STORE_ENGINES,
    names_of,
    new_folder,
    open_store,
    room_on_disk,
)
from benchmarks.support.evolved_members import Member, check_space, evolved, scaled_space
from benchmarks.support.loaders import Loader, loader
from harness.benchmark import Benchmark
from harness.errors import WrongResultError
from harness.records import Param

if TYPE_CHECKING:
    from bench_core.weight_transfer import ArchitectureGraph, LayerStore
    from harness.limits import Limits

FILES: Final = ("safetensors", "hdf5")
WAYS: Final = (*(f"store_{engine}" for engine in STORE_ENGINES), *FILES)
PHASES: Final = ("name", "query and pin", "put", "unpin")
ON_DISK: Final = ("store_files", "store_lmdb", *FILES)


class PopulationWrite(Benchmark):
    """Inside the clock: all candidates of an evolution are stored one after the other, durably.

    Aging evolution without training: parents are chosen by random accuracies, tensors are random,
    but what a child has in common with the best donor is that one's. With a ``population`` as
    large as ``n_models`` all are drawn at random and none is a child. ``scale`` multiplies the
    widths of the published space. The stores name each model, ask for its donor, pin it, put what
    is new and take the pin back, see ``phases``; ``naming_share`` is the first one's. The formats
    write a file a model, with ``fsync_dir``. ``dedup_ratio`` is the models' bytes over the room
    that the store or the files take on the disk (elsewhere over the bytes that the store counts);
    ``owner_map_ratio`` over the bytes that owner maps name, each once. ``layer_ratio`` counts
    layers with tensors, and ``birthday_ratio`` is what `birthday.estimate` expects of as many
    random models, counted in choices that each hang on all before. Ideal: the distinct bytes at
    the probed bandwidth of a durable write, and no less than one fsync a model; in memory none.
    """

    params = (WAYS, ("feed-forward",), (1,), (20,), (8,))
    param_names = ("way", "space", "scale", "n_models", "population")
    quick: ClassVar[Mapping[str, Sequence[Param]] | None] = {"way": ("store_files", "safetensors")}
    open_params = ("space",)
    timeout = 3600

    store: LayerStore | None = None
    loader: Loader
    folder: Path

    @classmethod
    def check_param(cls, name: str, value: Param) -> None:
        """Raise where an experiment names a space that does not exist."""
        check_space(str(value))

    def prepare(self, way: str, space: str, scale: int, n_models: int, population: int) -> None:
        self.way, self.space = way, scaled_space(space, scale)
        self.members: list[Member] = self.cached(
            ("members", space, scale, n_models, population, self.seed),
            lambda: evolved(self.space, n_models, population, self.seed),
        )
        # A graph computes its names once: these are to be named inside the clock.
        self.graphs = [self.space.build(member.arch) for member in self.members]
        self.folder = new_folder()
        self.phases: dict[str, float] = dict.fromkeys(PHASES, 0.0)
        if way in FILES:
            self.loader = loader(way)
        else:
            self.store = open_store(way.removeprefix("store_"), self.folder)

    def time_write(self, way: str, space: str, scale: int, n_models: int, population: int) -> None:
        if self.store is None:
            self._write_files()
        else:
            self._put_all(self.store)

    def ideal_seconds(self, limits: Limits) -> float | None:
        if self.way == "store_memory":
            return None
        write = durable_put_seconds(limits, self._distinct_bytes())
        syncs = limits.seconds("fsync_seconds", len(self.members))
        return None if write is None or syncs is None else max(write, syncs)

    def verify(self) -> None:
        """Read all models back, and state how much room they take."""
        logical = sum(member.graph.nbytes for member in self.members)
        distinct = self._distinct_bytes()
        for model, member in enumerate(self.members):
            require_equal(self._read_back(model), member.tensors)
        if self.store is not None:
            self._require_shared(self.store, distinct)
            naming = self.phases["name"] / sum(self.phases.values())
            self.note(owner_map_ratio=logical / distinct, phases=self.phases, naming_share=naming)
        stored = room_on_disk(self.folder) if self.way in ON_DISK else distinct
        self.note(
            logical_bytes=logical,
            stored_bytes=stored,
            dedup_ratio=logical / stored,
            **self._predictions(),
        )
        seconds = sum(self.phases.values())
        if self.store is not None:
            self.note(
                owner_map_ratio=logical / distinct, naming_share=self.phases["name"] / seconds
            )

    def clean(self) -> None:
        """Close the store, and remove what was written."""
        if self.store is not None:
            for model in self.store.models():
                self.store.retire(model)
            self.store.close()
            self.store = None
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder, ignore_errors=True)

    def _put_all(self, store: LayerStore) -> None:
        for model, (graph, member) in enumerate(zip(self.graphs, self.members, strict=True)):
            began = time.perf_counter_ns()
            names = graph.names
            named = time.perf_counter_ns()
            with store.pinned_prefix(graph) as match:
                found = time.perf_counter_ns()
                kept = frozenset(() if match is None else match.positions)
                own = names_of(graph, [v for v in range(len(names)) if v not in kept])
                tensors = {name: member.tensors[name] for name in own}
                store.put(model, graph, tensors, donor=match, accuracy=member.accuracy)
                put = time.perf_counter_ns()
            ended = time.perf_counter_ns()
            stamps = (began, named, found, put, ended)
            for phase, (before, after) in zip(PHASES, itertools.pairwise(stamps), strict=True):
                self.phases[phase] += (after - before) / 1e9

    def _write_files(self) -> None:
        from bench_core.formats import Durability

        for model, member in enumerate(self.members):
            self.loader.format.write(member.tensors, self._path(model), Durability.FSYNC_DIR)

    def _read_back(self, model: int) -> Tensors:
        if self.store is not None:
            return self.store.get(model)
        return self.loader.load(self._path(model))

    def _path(self, model: int) -> Path:
        return self.folder / f"{model}{self.loader.format.suffix}"

    def _distinct_bytes(self) -> int:
        """Return the bytes of what is stored once: each model's but for what it inherits."""
        return sum(
            layer.nbytes
            for member in self.members
            for v, layer in enumerate(member.graph.layers)
            if v not in member.inherited
        )

    def _require_shared(self, store: LayerStore, distinct: int) -> None:
        """See that the owner maps, and the engine, name as many bytes as the donors leave.

        Raises:
            WrongResultError: it is otherwise.
        """
        owned = sum(store.record(model).own_nbytes for model in range(len(self.members)))
        counted = store.usage().nbytes
        if not owned == counted == distinct:
            raise WrongResultError(
                f"the owner maps name {owned} bytes, the store counts {counted}, the donors leave "
                f"{distinct}"
            )

    def _predictions(self) -> dict[str, Any]:
        from bench_core.weight_transfer import birthday

        weighted = [_weighted(member.graph) for member in self.members]
        own = [
            len(positions - set(member.inherited))
            for positions, member in zip(weighted, self.members, strict=True)
        ]
        expected = birthday.estimate(self.space.choices, len(self.members))
        return {
            "layer_ratio": sum(map(len, weighted)) / sum(own),
            "birthday_ratio": expected.dedup_ratio,
        }


def _weighted(graph: ArchitectureGraph) -> set[int]:
    """Return the positions of the layers that have tensors."""
    return {v for v, layer in enumerate(graph.layers) if layer.tensors}
