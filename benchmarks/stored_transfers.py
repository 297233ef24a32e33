"""Weights from a donor to its child through a layer store, or from the donor's own file."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from benchmarks.layer_loading import CACHES
from benchmarks.support.common import COLD, Tensors, bytes_of, poison, process_folder, require_equal
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
from benchmarks.support.loaders import loader
from benchmarks.support.named_params import NamedParams
from harness.errors import RefusedError, WrongResultError
from harness.records import Param

if TYPE_CHECKING:
    import torch

    from bench_core.weight_transfer import ArchitectureGraph, LayerStore
    from harness.limits import Limits

FILES: Final = ("safetensors", "hdf5", "direct")
STORES: Final = tuple(f"store_{engine}" for engine in STORE_ENGINES)
PHASES: Final = ("name and query", "pin", "fetch")


class Donor(NamedTuple):
    """A model that children derive from, and where it is."""

    graph: ArchitectureGraph
    tensors: dict[str, torch.Tensor]
    store: LayerStore | None
    paths: list[Path]
    """Of the files that hold its tensors."""


class StoredTransfer(NamedParams):
    """Inside the clock: a new architecture's layers are found at a donor's, and filled.

    The child differs from the donor in its last layer. ``store_…`` names the child's layers, asks
    for the best prefix, pins the donor and fetches into the child's tensors, which exist and were
    touched; the pin is taken back afterwards. The files are the donor's own, known as the child's
    parent: what they hold of the child is read into it. In the store the donor's layers belong to
    ``owners`` models in turns, each in a file of its own, as after so many generations. Ideal:
    cold, the bytes at the probed bandwidth of a direct read; warm, at that of a copy.
    """

    params = ((*STORES, *FILES), CACHES, (1, 2, 4, 16), (2,), (32,))
    param_names = ("way", "cache", "owners", "mebibytes", "layers")
    quick = {"way": ("store_files", "safetensors")}
    open_params = ("cache",)

    pinned: tuple[int, str] | None = None
    donor: Donor
    phases: dict[str, float]

    @classmethod
    def planned_bytes(cls, **params: Param) -> int:
        """Return the bytes of the layers that donor and child have in common."""
        layers = int(params["layers"])
        return bytes_at(equal_stack(int(params["mebibytes"]) * MIB, layers), range(layers))

    def prepare(self, way: str, cache: str, owners: int, mebibytes: int, layers: int) -> None:
        if cache in COLD and way in STORES and way != "store_files":
            raise RefusedError(
                f"{way}: memory, and the map of an open store, cannot be made cold; ask for warm"
            )
        self.way, self.cache, self.owners = way, cache, owners
        self.donor = self.cached(
            ("donor", way, owners, mebibytes, layers, self.seed),
            lambda: self._stored_donor(mebibytes, layers),
        )
        if cache in COLD and self.donor.store is not None and len(self.donor.paths) < owners:
            raise RefusedError(
                f"{way}: {len(self.donor.paths)} files for {owners} owners; puts of few bytes lie "
                "in the ledger, which cannot be made cold: ask for larger models"
            )
        self.loader = None if self.donor.store is not None else loader(way)
        self.child = _with_new_head(self.donor.graph)
        specs = self.donor.graph.tensors()
        names = names_of(self.donor.graph, range(layers))
        self.into = {name: _empty(specs[name]) for name in names}
        poison(self.into)

    def time_transfer(self, way: str, cache: str, owners: int, mebibytes: int, layers: int) -> None:
        if self.loader is None:
            self._from_store()
        else:
            self.loader.load_into(self.into, self.donor.paths[0])

    def files(self) -> Sequence[Path]:
        return self.donor.paths

    def needed_bytes(self) -> int:
        return bytes_of(self.into)

    def ideal_seconds(self, limits: Limits) -> float | None:
        is_cold = self.cache in COLD
        return limits.seconds(
            "sequential_read" if is_cold else "memcpy_all_threads", self.needed_bytes()
        )

    def verify(self) -> None:
        require_equal(self.into, {name: self.donor.tensors[name] for name in self.into})
        store = self.donor.store
        if store is not None:
            self.note(phases=self.phases)
            found = len(set(store.record(self.owners - 1).owners))
            if found != self.owners:
                raise WrongResultError(f"the donor has {found} owners, expected {self.owners}")

    def clean(self) -> None:
        """Take the pin back, and let the child's memory go."""
        if self.pinned is not None and self.donor.store is not None:
            self.donor.store.unpin(*self.pinned)
            self.pinned = None
        self.into = {}

    def _from_store(self) -> None:
        store = self.donor.store
        assert store is not None
        stamps = [time.perf_counter_ns()]
        match = store.best_prefix(self.child)
        stamps.append(time.perf_counter_ns())
        if match is None:
            raise WrongResultError("the store found no donor")
        self.pinned = match.donor, store.pin(match.donor)
        stamps.append(time.perf_counter_ns())
        store.fetch(match, self.child, self.into)
        stamps.append(time.perf_counter_ns())
        seconds = [(after - before) / 1e9 for before, after in itertools.pairwise(stamps)]
        self.phases = dict(zip(PHASES, seconds, strict=True))

    def _stored_donor(self, mebibytes: int, layers: int) -> Donor:
        graph = equal_stack(mebibytes * MIB, layers)
        tensors = self.cached(
            ("donor's tensors", mebibytes, layers, self.seed),
            lambda: random_model(graph, self.seed),
        )
        if not self.way.startswith("store_"):
            made = loader(self.way)
            path = process_folder() / f"donor-{mebibytes}-{layers}{made.format.suffix}"
            made.format.write(tensors, path)
            return Donor(graph, tensors, None, [path])
        folder = new_folder()
        store = open_store(self.way.removeprefix("store_"), folder)
        put_generations(store, graph, tensors, self.owners)
        return Donor(graph, tensors, store, sorted(folder.rglob("*.safetensors")))


def put_generations(
    store: LayerStore, graph: ArchitectureGraph, tensors: Tensors, owners: int
) -> None:
    """Put models 0 to ``owners - 1``, of which the last has these tensors, owned in turns by all.

    Model g has of its own the layers at positions g, g + ``owners``, …, and those of its donor,
    model g - 1, before; the first has all, which differ where a later model has its own. Every
    model is more accurate than its donor, so that the last is the best one.
    """
    from bench_core.weight_transfer import Match

    for model in range(owners):
        own = [v for v in range(len(graph)) if model == 0 or v % owners == model]
        kept = tuple(sorted(set(range(len(graph))) - set(own)))
        given = {
            name: tensors[name] if int(name.partition(".")[0]) % owners == model else -tensors[name]
            for name in names_of(graph, own)
        }
        donor = Match(model - 1, kept, len(kept)) if model else None
        store.put(model, graph, given, donor=donor, accuracy=float(model))


def _with_new_head(graph: ArchitectureGraph) -> ArchitectureGraph:
    """Return the architecture with another last layer; its names are not known yet."""
    from bench_core.weight_transfer import sequential
    from bench_core.weight_transfer.layers import dense, out_shape

    shape = out_shape(graph.layers[-2])
    return sequential([*graph.layers[:-1], dense(shape, 10)])


def _empty(spec: Any) -> torch.Tensor:
    import torch

    return torch.empty(spec.shape, dtype=spec.dtype)
