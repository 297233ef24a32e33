"""What a store takes, and how long it stops its users, while models are born and retired."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple

from benchmarks.support.common import require_equal
from benchmarks.support.equal_stacks import STORE_ENGINES, names_of, new_folder, open_store
from benchmarks.support.evolved_members import (
    check_space,
    evolution_of,
    inherited_tensors,
    own_tensors,
    scaled_space,
)
from harness.benchmark import Benchmark
from harness.errors import WrongResultError
from harness.records import Param

if TYPE_CHECKING:
    import torch

    from bench_core.weight_transfer import ArchitectureGraph, LayerStore, Match
    from harness.limits import Limits

POINTS: Final = 100
"""At most so many times the stored bytes are looked at."""
READER_SECONDS: Final = 0.002
"""A reader rests so long after each model."""


class Living(NamedTuple):
    """A model of the present population."""

    graph: ArchitectureGraph
    tensors: dict[str, torch.Tensor]


class RetireUnderLoad(Benchmark):
    """How long the store stops its user for, at the 99th percentile of all puts and retirements.

    Aging evolution without training: each birth asks for a donor, pins it, fetches what it
    inherits and puts the rest; the oldest of the population is retired, or, with ``retire`` = no,
    kept. Meanwhile readers (threads) pin models, load them whole and take their pins back. Noted:
    ``births`` and ``stored_bytes`` along the way, ``peak_bytes``, the percentiles of puts and of
    retirements by themselves, what the readers read, and ``leaked_bytes``, which are there when
    all models have been retired: more than none is a wrong answer. So are more bytes than the
    population, and what readers hold, consists of. Ideal: one fsync; in memory none.
    """

    params = (STORE_ENGINES, ("yes", "no"), ("feed-forward",), (20,), (6,), (1,))
    param_names = ("engine", "retire", "space", "births", "population", "readers")
    quick: ClassVar[Mapping[str, Sequence[Param]] | None] = {"engine": ("files",)}
    open_params = ("space",)
    unit = "seconds"
    timeout = 3600

    store: LayerStore | None = None
    folder: Path

    @classmethod
    def check_param(cls, name: str, value: Param) -> None:
        """Raise where an experiment names a space that does not exist."""
        check_space(str(value))

    def prepare(
        self, engine: str, retire: str, space: str, births: int, population: int, readers: int
    ) -> None:
        import numpy as np

        self.engine, self.retires, self.births = engine, retire == "yes", births
        self.space = scaled_space(space, 1)
        self.evolution = evolution_of(self.space, population, self.seed)
        self.accuracies = np.random.default_rng(self.seed).random(births).tolist()
        self.folder = new_folder()
        self.store = open_store(engine, self.folder)
        self.living: dict[int, Living] = {}
        self.puts: list[float] = []
        self.retirements: list[float] = []
        self.curve: list[tuple[int, int]] = []
        self.largest = 0
        self.readers = [Reader(self.store, self.seed + number) for number in range(readers)]

    def track_pause(
        self, engine: str, retire: str, space: str, births: int, population: int, readers: int
    ) -> float:
        with _running(self.readers):
            for model, accuracy in enumerate(self.accuracies):
                self._birth(model, accuracy)
                if (model + 1) % max(1, births // POINTS) == 0:
                    self._look(model + 1)
        return _percentile([*self.puts, *self.retirements], 99)

    def ideal_seconds(self, limits: Limits) -> float | None:
        return None if self.engine == "memory" else limits.seconds("fsync_seconds", 1)

    def verify(self) -> None:
        """Compare the living with what was put, then retire all and see that nothing is left."""
        store = self.store
        assert store is not None
        for model, living in self.living.items():
            require_equal(store.get(model), living.tensors)
        for model in store.models():
            store.retire(model)
        usage, left = store.usage(), list(self.folder.rglob("*.safetensors"))
        self.note(
            births=[birth for birth, _ in self.curve],
            stored_bytes=[stored for _, stored in self.curve],
            peak_bytes=max(stored for _, stored in self.curve),
            leaked_bytes=usage.nbytes,
            read_models=sum(reader.count for reader in self.readers),
            **_percentiles("put", self.puts),
            **_percentiles("retire", self.retirements),
        )
        if usage.nbytes or usage.tensors or usage.references or left:
            raise WrongResultError(
                f"all models are retired, but there are {usage.tensors} tensors of {usage.nbytes} "
                f"bytes, {usage.references} references and {len(left)} files"
            )

    def clean(self) -> None:
        """Close the store and remove it."""
        if self.store is not None:
            self.store.close()
            self.store = None
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder, ignore_errors=True)

    def _birth(self, model: int, accuracy: float) -> None:
        store = self.store
        assert store is not None
        candidate = self.evolution.ask()
        graph = self.space.build(candidate.arch)
        with store.pinned_prefix(graph) as match:
            inherited = {} if match is None else self._fetched(store, graph, match)
            kept = () if match is None else match.positions
            own = own_tensors(graph, kept, self.seed, model)
            began = time.perf_counter_ns()
            store.put(model, graph, own, donor=match, accuracy=accuracy)
            self.puts.append((time.perf_counter_ns() - began) / 1e9)
        self.living[model] = Living(graph, own | inherited)
        oldest = self.evolution.tell(candidate, accuracy)
        if oldest is not None and self.retires:
            began = time.perf_counter_ns()
            store.retire(oldest.candidate.birth)
            self.retirements.append((time.perf_counter_ns() - began) / 1e9)
            del self.living[oldest.candidate.birth]

    def _fetched(
        self, store: LayerStore, graph: ArchitectureGraph, match: Match
    ) -> dict[str, torch.Tensor]:
        """Return what a new model inherits, seen to be the donor's."""
        import torch

        specs = graph.tensors()
        names = names_of(graph, match.positions)
        into = {n: torch.empty(specs[n].shape, dtype=specs[n].dtype) for n in names}
        store.fetch(match, graph, into)
        donor = self.living[match.donor]
        require_equal(into, inherited_tensors(graph, match, donor.graph, donor.tensors))
        return into

    def _look(self, births: int) -> None:
        """Note the stored bytes, which may be those of the living and of what readers hold."""
        assert self.store is not None
        stored = self.store.usage().nbytes
        self.curve.append((births, stored))
        sizes = [living.graph.nbytes for living in self.living.values()]
        # A model that is retired since, and that a reader holds, may be any of those before.
        self.largest = max(self.largest, *sizes)
        if stored > sum(sizes) + len(self.readers) * self.largest:
            raise WrongResultError(
                f"after {births} births {stored} bytes are stored, the population has {sum(sizes)}"
            )


class Reader(threading.Thread):
    """Pins models that are drawn at random, loads them, takes the pins back, until told to end."""

    def __init__(self, store: LayerStore, seed: int) -> None:
        import random

        super().__init__(daemon=True)
        self.store = store
        self.random = random.Random(seed)
        self.count = 0
        self.is_over = threading.Event()
        self.error: Exception | None = None

    def run(self) -> None:
        """Read until told to end; what goes wrong is kept for who joins."""
        try:
            while not self.is_over.wait(READER_SECONDS):
                self._read_one()
        except Exception as error:
            self.error = error

    def _read_one(self) -> None:
        from bench_core.weight_transfer import RetiredError

        models = self.store.models()
        if not models:
            return
        model = self.random.choice(models)
        try:
            pin = self.store.pin(model)
        except RetiredError:
            return
        try:
            self.store.get(model)
        finally:
            self.store.unpin(model, pin)
        self.count += 1


@contextmanager
def _running(readers: Sequence[Reader]) -> Iterator[None]:
    for reader in readers:
        reader.start()
    try:
        yield
    finally:
        for reader in readers:
            reader.is_over.set()
            reader.join()
    for reader in readers:
        if reader.error is not None:
            raise reader.error


def _percentile(values: Sequence[float], percent: float) -> float:
    import numpy as np

    return float(np.percentile(values, percent))


def _percentiles(name: str, values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    return {f"{name}_p{p}_seconds": _percentile(values, p) for p in (50, 99)}
