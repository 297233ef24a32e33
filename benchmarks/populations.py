"""Populations of architectures: drawn, named, changed, and built without memory."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from harness.benchmark import Benchmark
from harness.errors import InputError, RefusedError, WrongResultError
from harness.records import Param

if TYPE_CHECKING:
    from bench_core.weight_transfer.population import Population
    from bench_core.weight_transfer.spaces.base import SearchSpace
    from harness.limits import Limits

WAYS: Final = ("vectorised", "loop")
LAYERS: Final = 30
LOOP_NAME_BYTES: Final = 8
"""As long as those of the name matrix."""
BUILT: Final = 100
"""Architectures that one sample of `Materialise` builds."""


class PopulationBenchmark(Benchmark):
    """Base of the workloads that give a population: the same for any number of workers."""

    timeout = 600

    def note_rates(self, n_models: int) -> None:
        """Note models and names a second, and bytes a model."""
        seconds = self.timer.seconds or 1
        self.note(
            models_per_second=n_models / seconds,
            names_per_second=n_models * LAYERS / seconds,
            bytes_per_model=_nbytes(self.result) / len(self.result),
        )


class Generate(PopulationBenchmark):
    """Inside the clock: architectures of 30 choices drawn, and the name of each prefix computed.

    ``vectorised`` is `population.generate` in so many threads, with the imports done before;
    ``loop`` draws the same rows and names them in a plain loop, one blake2b a name, in one thread.
    What is checked: the same bytes as from one worker; of the loop, names that differ where those
    do. The peak of memory is in the counters.
    Ideal: the bytes of rows and names at the rate of a copy by all threads.
    """

    params = (WAYS, (6_000, 60_000), (1, 2))
    param_names = ("way", "n_models", "workers")
    quick = {"way": WAYS, "workers": (1,)}

    def prepare(self, way: str, n_models: int, workers: int) -> None:
        from bench_core.weight_transfer.population import generate

        if way == "loop" and workers > 1:
            raise RefusedError("the loop holds the interpreter's lock: it has one worker")
        self.generate, self.space = generate, _space()
        self.way, self.n_models = way, n_models

    def time_generate(self, way: str, n_models: int, workers: int) -> Any:
        if way == "vectorised":
            return self.generate(self.space, n_models, self.seed, workers)
        return looped(self.space, n_models, self.seed)

    def ideal_seconds(self, limits: Limits) -> float | None:
        return limits.seconds("memcpy_all_threads", _nbytes(self.result))

    def verify(self) -> None:
        key = ("population", self.n_models, self.seed)
        expected = self.cached(key, lambda: self.generate(self.space, self.n_models, self.seed))
        check_same(self.result, expected, is_other_digest=self.way == "loop")
        self.note_rates(self.n_models)


class Evolve(PopulationBenchmark):
    """Inside the clock: the first ``n_children`` of 60,000 architectures replaced by children.

    `population.evolve` in so many threads: one choice of each is changed, and the children named.
    The population was generated before. What is checked: each child differs from its parent in one
    choice and has the names of its own, and nothing else has changed.
    Ideal: the bytes of the new population at the rate of a copy by all threads.
    """

    params = ((1_000, 10_000), (1, 2), (60_000,))
    param_names = ("n_children", "workers", "n_population")

    def prepare(self, n_children: int, workers: int, n_population: int) -> None:
        from bench_core.weight_transfer.population import evolve, generate

        key = ("population", n_population, self.seed)
        self.parents = self.cached(key, lambda: generate(_space(), n_population, self.seed))
        self.evolve, self.n_children = evolve, n_children

    def time_evolve(self, n_children: int, workers: int, n_population: int) -> Any:
        return self.evolve(self.parents, n_children, self.seed, workers)

    def ideal_seconds(self, limits: Limits) -> float | None:
        return limits.seconds("memcpy_all_threads", _nbytes(self.result))

    def verify(self) -> None:
        from bench_core.weight_transfer.prefix_names import prefix_names

        changes = (self.result.archs != self.parents.archs).sum(axis=1)
        expected = [1] * self.n_children + [0] * (len(self.parents) - self.n_children)
        if changes.tolist() != expected:
            raise WrongResultError("a child does not differ from its parent in one choice")
        if (self.result.names != prefix_names(self.result.archs)).any():
            raise WrongResultError("a child has not the names of its choices")
        self.note_rates(self.n_children)


class Materialise(Benchmark):
    """Inside the clock: 100 architectures built as graphs and as torch modules on ``meta``.

    Without memory and values, so that nothing but objects of the interpreter is made: there is no
    ideal time. Seconds a model. What is checked: each module has the tensors of its graph.
    """

    params = (("feed-forward", "dense-skip"), (10,))
    param_names = ("space", "layers")
    open_params: ClassVar[Sequence[str]] = ("space",)
    unit = "seconds"

    @classmethod
    def check_param(cls, name: str, value: Param) -> None:
        """Check the search space."""
        check_search_space(str(value))

    def prepare(self, space: str, layers: int) -> None:
        import numpy as np

        from bench_core.weight_transfer import spaces
        from bench_core.weight_transfer.network import materialise

        self.space, self.materialise = spaces.get(space, layers=layers), materialise
        self.rows = self.space.random(BUILT, np.random.default_rng(self.seed))
        materialise(self.space.build(self.rows[0]), "meta")  # what torch does for the first time

    def track_models(self, space: str, layers: int) -> float:
        began = time.perf_counter()
        self.made = [self.materialise(self.space.build(row), "meta") for row in self.rows]
        return (time.perf_counter() - began) / BUILT

    def verify(self) -> None:
        for network in self.made:
            specs = network.graph.tensors()
            found = {name: tensor.shape for name, tensor in network.state_dict().items()}
            if found != {name: spec.shape for name, spec in specs.items()}:
                raise WrongResultError("a module has other tensors than its graph")
        self.note(models_per_second=1 / self.result)


def looped(space: SearchSpace, n: int, seed: int) -> Population:
    """Return the population of `population.generate`, its rows named one by one by blake2b."""
    import numpy as np

    from bench_core.weight_transfer.population_chunks import drawn
    from bench_core.weight_transfer.population_files import Population

    parts = [
        space.random(chunk.size, np.random.default_rng(chunk.seed))
        for chunk in drawn(space, n, seed)
    ]
    rows = np.concatenate(parts)
    names = [_blake2b_names(row) for row in rows.tolist()]
    return Population(space, rows, np.array(names, dtype=np.uint64))


def _blake2b_names(row: list[int]) -> list[int]:
    names, before = [], b""
    for choice in row:
        part = before + choice.to_bytes(2, "little")
        before = hashlib.blake2b(part, digest_size=LOOP_NAME_BYTES).digest()
        names.append(int.from_bytes(before, "little"))
    return names


def check_same(found: Population, expected: Population, *, is_other_digest: bool) -> None:
    """Compare two populations: rows, and names or, of another digest, which of them are equal.

    Raises:
        WrongResultError: something differs.
    """
    import numpy as np

    if not np.array_equal(found.archs, expected.archs):
        raise WrongResultError("other architectures than those of one worker")
    if is_other_digest:
        _, ours = np.unique(expected.names, return_inverse=True)
        _, theirs = np.unique(found.names, return_inverse=True)
        pairs = np.unique(np.stack([ours.ravel(), theirs.ravel()]), axis=1)
        is_same = pairs.shape[1] == ours.max() + 1 == theirs.max() + 1
    else:
        is_same = np.array_equal(found.names, expected.names)
    if not is_same:
        raise WrongResultError("other names than those of one worker")


def check_search_space(name: str) -> None:
    """Raise `InputError` where there is no such search space."""
    from bench_core.errors import UnknownNameError
    from bench_core.weight_transfer import spaces

    try:
        spaces.get(name)
    except UnknownNameError as error:
        raise InputError(str(error)) from error


def _space() -> SearchSpace:
    from bench_core.weight_transfer import spaces

    return spaces.get("feed-forward", layers=LAYERS)


def _nbytes(population: Population) -> int:
    return population.archs.nbytes + population.names.nbytes
