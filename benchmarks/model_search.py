"""How long it takes to find the best base model among many, by engine, and where the time goes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.common import COLD
from benchmarks.model_sets import ModelSet, has_trained_base, search_data, synthetic, trained
from harness.benchmark import Benchmark
from harness.errors import InputError, WrongResultError
from harness.records import Param

if TYPE_CHECKING:
    from bench_core.model_search import SearchResult
    from harness.limits import Limits

ENGINES = ("base", "base_tuned", "shift", "alsatian", "shared")
PUBLISHED = ("base", "shift", "alsatian")
HALVING = ("shift", "alsatian", "shared")
DISTRIBUTIONS = ("TOP_LAYERS", "TWENTY_FIVE_PERCENT", "FIFTY_PERCENT", "LAST_ONE_LAYER")
BATCH_SIZE = 32
ENOUGH_ITEMS = 400
"""From which on the first rounds of a halving no longer lose the one model that is trained."""
SHOWN = 5
"""Places of the ranking that a record holds."""
_MEGABYTE = 10**6


class SearchBenchmark(Benchmark):
    """Base of the searches: models and data are made before; the clock holds `search` alone.

    Published engines follow the published halving, its last round included; ours ends when nothing
    can be decided any more. Features of Base and SHiFT go through files. What is checked: all
    engines that follow the same halving find the same winner and give the same scores, bit for bit,
    in the rounds that decide. Base scores every model by all items, which may prefer another one,
    but not where the base of the set alone was trained.

    Ideal: the slower of the distinct blocks' time (each batch through each distinct prefix of
    blocks, at the rate that the block reaches alone on this machine, measured before) and the
    distinct bytes at the device's bandwidth, where they are cold; and the proxy as it was.
    """

    unit = "seconds"
    timeout = 7200
    open_params = ("architecture", "cache", "data", "distribution", "engine")

    models: ModelSet
    engine: str
    cache: str
    budget: int | None = None
    has_one_best = False
    """Whether one model is clearly the best, so that all engines must find it."""

    @classmethod
    def check_param(cls, name: str, value: Param) -> None:
        """Raise where an experiment names something that does not exist."""
        from bench_core.errors import UnknownNameError
        from bench_core.model_search.engines import engine_class
        from bench_core.models import chain
        from bench_core.snapshots.draws import distribution_name
        from harness.cache import parse_state

        checks: dict[str, Any] = {
            "engine": engine_class,
            "architecture": chain,
            "cache": parse_state,
            "distribution": distribution_name,
            "data": lambda _: None,
        }
        try:
            checks[name](str(value))
        except (UnknownNameError, ValueError) as error:
            raise InputError(str(error)) from error

    def prepare_search(
        self, models: ModelSet, items: int, size: int, engine: str, cache: str, data: str
    ) -> None:
        """Make data, whole models and rates, all of which are kept for the next samples."""
        self.models, self.engine, self.cache = models, engine, cache
        snapshots = [models.store.snapshot(name) for name in models.names]
        taken = snapshots[0].input
        self.snapshots = snapshots
        self.data = self.cached(
            ("search data", taken, items, size, data),
            lambda: search_data(taken, items, size, data),
        )
        self.case = (str(models.store.folder), tuple(models.names), items, size, data)
        self.candidates, self.rates = self.cached(("rates", *self.case), self._rates)
        if engine in ("base", "shift"):
            for name, path in zip(models.names, self._whole_files(), strict=True):
                models.store.export(name, path)

    def run_search(self) -> SearchResult:
        """Search; this is what is timed."""
        from bench_core.model_search import search

        return search(
            self.models.store,
            self.data,
            names=self.models.names,
            engine=self.engine,
            batch_size=BATCH_SIZE,
            budget=self.budget,
            paper_exact=self.engine in PUBLISHED,
            seed=self.seed,
        )

    def files(self) -> Sequence[Path]:
        if self.engine in ("base", "shift"):
            return self._whole_files()
        return [self.models.store.block_path(block) for block in self._blocks().values()]

    def needed_bytes(self) -> int | None:
        """Return the bytes of the files that are read at least once."""
        return sum(path.stat().st_size for path in self.files())

    def ideal_seconds(self, limits: Limits) -> float | None:
        from bench_core.model_search.rates import distinct_runs

        keys, n_test = self.candidates.keys, len(self.data.test)
        compute = 0.0
        for found in self._deciding(self.result):
            items = found.stop - found.start + (n_test if found.index == 0 else 0)
            runs = distinct_runs([keys[item.model] for item in found.scores])
            compute += sum(self.rates.seconds[key] for key in runs) * items / BATCH_SIZE
        read = limits.seconds("sequential_read", self._distinct_bytes())
        is_cold = self.cache in COLD and read is not None
        proxy = float(self.result.work.seconds["proxy_score"])
        return max(compute, read if is_cold and read is not None else 0.0) + proxy

    def verify(self) -> None:
        table = [row for found in self._deciding(self.result) for row in _rows(found)]
        halves = self.engine in HALVING
        found = (table, self.result.best)
        expected = self.cached(("table", halves, self.seed, *self.case), lambda: found)
        if found != expected:
            raise WrongResultError(f"{self.engine} gives other scores than the engine before it")
        winner = self.cached(("winner", self.seed, *self.case), lambda: self.result.best)
        if self.has_one_best and winner != self.result.best:
            raise WrongResultError(f"{self.engine} finds {self.result.best}, expected {winner}")
        work = self.result.work
        self.note(
            phases=dict(work.seconds),
            winner=self.result.best,
            ranking=" > ".join(item.name for item in self.result.ranking[:SHOWN]),
            peak_activation_bytes=work.peak_activation_bytes,
            peak_block_bytes=work.peak_block_bytes,
            distinct_bytes=self._distinct_bytes(),
            block_gflops=self.rates.flops_per_second / 1e9,
            **work.counts,
        )

    def _deciding(self, result: SearchResult) -> list[Any]:
        """Return the rounds that tell models apart."""
        return [found for found in result.rounds if len(found.scores) > 1]

    def _rates(self) -> Any:
        from bench_core.model_search.candidates import Candidates
        from bench_core.model_search.rates import measure_blocks
        from bench_core.models.chains.resources import input_shapes

        candidates = Candidates.of(self.snapshots, self.data)
        shapes = input_shapes(self.data.train.kind, self.data.train.shape)
        return candidates, measure_blocks(candidates, shapes, BATCH_SIZE, repeats=3)

    def _blocks(self) -> dict[str, Any]:
        return {block.key: block for snapshot in self.snapshots for block in snapshot.blocks}

    def _distinct_bytes(self) -> int:
        return sum(block.nbytes for block in self._blocks().values())

    def _whole_files(self) -> list[Path]:
        folder = self.models.store.folder / "whole"
        return [folder / f"{name}.pt" for name in self.models.names]


class Search(SearchBenchmark):
    """Inside the clock: one whole search over a synthetic set, from its first round to the ranking.

    Ideal: see `SearchBenchmark`.
    """

    params = (
        ENGINES,
        ("TOP_LAYERS",),
        ("mlp_tiny", "resnet_tiny"),
        (8,),
        (200,),
        (32,),
        ("warm",),
        ("embedded",),
    )
    param_names = (
        "engine",
        "distribution",
        "architecture",
        "n_models",
        "items",
        "size",
        "cache",
        "data",
    )
    quick = {"engine": ENGINES}

    def prepare(
        self,
        engine: str,
        distribution: str,
        architecture: str,
        n_models: int,
        items: int,
        size: int,
        cache: str,
        data: str,
    ) -> None:
        models = synthetic(architecture, distribution, n_models, size, self.seed)
        self.has_one_best = has_trained_base(architecture) and items >= ENOUGH_ITEMS
        self.prepare_search(models, items, size, engine, cache, data)

    def time_search(self, *params: Any) -> SearchResult:
        return self.run_search()


class TrainedSearch(SearchBenchmark):
    """Inside the clock: one whole search over a set of really trained models.

    Ideal: see `SearchBenchmark`.
    """

    params = (ENGINES, ("mlp_tiny", "resnet_tiny"), (6,), (2,), (200,), (32,), ("warm",))
    param_names = ("engine", "architecture", "n_models", "epochs", "items", "size", "cache")
    quick = {"engine": ENGINES}

    def prepare(
        self,
        engine: str,
        architecture: str,
        n_models: int,
        epochs: int,
        items: int,
        size: int,
        cache: str,
    ) -> None:
        models = trained(architecture, n_models, epochs, self.seed)
        self.prepare_search(models, items, size, engine, cache, "embedded")

    def time_search(self, *params: Any) -> SearchResult:
        return self.run_search()


class MemoryLimit(SearchBenchmark):
    """Inside the clock: one whole search under a budget for blocks and intermediate results.

    Ideal: see `SearchBenchmark`.
    """

    params = (
        ("base", "shift", "alsatian", "shared"),
        ("mlp_tiny", "resnet_tiny"),
        (8, 80),
        ("FIFTY_PERCENT",),
        (8,),
        (200,),
        (32,),
        ("warm",),
    )
    param_names = (
        "engine",
        "architecture",
        "budget_mb",
        "distribution",
        "n_models",
        "items",
        "size",
        "cache",
    )
    quick = {"engine": ("alsatian", "shared")}

    def prepare(
        self,
        engine: str,
        architecture: str,
        budget_mb: float,
        distribution: str,
        n_models: int,
        items: int,
        size: int,
        cache: str,
    ) -> None:
        models = synthetic(architecture, distribution, n_models, size, self.seed)
        self.budget = int(budget_mb * _MEGABYTE)
        self.prepare_search(models, items, size, engine, cache, "embedded")

    def time_search(self, *params: Any) -> SearchResult:
        return self.run_search()


def _rows(found: Any) -> list[tuple[int, str, float, float | None]]:
    return [(found.index, item.name, item.score, item.loss) for item in found.scores]
