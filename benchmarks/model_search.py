"""How long it takes to find the best base model among many, by engine, and where the time goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.support.model_sets import combined, synthetic, trained
from benchmarks.support.named_params import check_names
from benchmarks.support.search_base import SearchBenchmark
from harness.records import Param

if TYPE_CHECKING:
    from bench_core.model_search import SearchResult

ENGINES = ("base", "base_tuned", "shift", "alsatian", "shared")
_MEGABYTE = 10**6


class Search(SearchBenchmark):
    """Inside the clock: `search` whole, over a synthetic set, its manifests opened to the ranking.

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
        ("cpu",),
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
        "device",
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
        device: str,
    ) -> None:
        models = synthetic(architecture, distribution, n_models, size, self.seed)
        self.prepare_search(models, items, size, engine, cache, data, device)

    def time_search(
        self,
        engine: str,
        distribution: str,
        architecture: str,
        n_models: int,
        items: int,
        size: int,
        cache: str,
        data: str,
        device: str,
    ) -> SearchResult:
        return self.run_search()


class TrainedSearch(SearchBenchmark):
    """Inside the clock: one whole search over a set of really trained models.

    Ideal: see `SearchBenchmark`.
    """

    params = (
        ENGINES,
        ("mlp_tiny", "resnet_tiny"),
        (6,),
        (2,),
        (200,),
        (32,),
        ("warm",),
        ("cpu",),
    )
    param_names = (
        "engine",
        "architecture",
        "n_models",
        "epochs",
        "items",
        "size",
        "cache",
        "device",
    )
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
        device: str,
    ) -> None:
        models = trained(architecture, n_models, epochs, self.seed)
        self.prepare_search(models, items, size, engine, cache, "embedded", device)

    def time_search(
        self,
        engine: str,
        architecture: str,
        n_models: int,
        epochs: int,
        items: int,
        size: int,
        cache: str,
        device: str,
    ) -> SearchResult:
        return self.run_search()


class CombinedSearch(SearchBenchmark):
    """Inside the clock: one whole search over sets of several architectures in one store.

    Ideal: see `SearchBenchmark`.
    """

    params = (
        ENGINES,
        ("mlp_tiny+mlp_deep", "resnet_tiny+vit_tiny"),
        ("TOP_LAYERS",),
        (4,),
        (200,),
        (32,),
        ("warm",),
        ("cpu",),
    )
    param_names = (
        "engine",
        "architectures",
        "distribution",
        "n_models",
        "items",
        "size",
        "cache",
        "device",
    )
    quick = {"engine": ENGINES}
    open_params = ("architectures", "cache", "device", "distribution", "engine")

    @classmethod
    def check_param(cls, name: str, value: Param) -> None:
        """Raise where an experiment names something that does not exist."""
        if name != "architectures":
            return check_names(name, value)
        for architecture in str(value).split("+"):
            check_names("architecture", architecture)
        return None

    def prepare(
        self,
        engine: str,
        architectures: str,
        distribution: str,
        n_models: int,
        items: int,
        size: int,
        cache: str,
        device: str,
    ) -> None:
        models = combined(architectures.split("+"), distribution, n_models, size, self.seed)
        self.prepare_search(models, items, size, engine, cache, "embedded", device)

    def time_search(
        self,
        engine: str,
        architectures: str,
        distribution: str,
        n_models: int,
        items: int,
        size: int,
        cache: str,
        device: str,
    ) -> SearchResult:
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
        ("cpu",),
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
        "device",
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
        device: str,
    ) -> None:
        models = synthetic(architecture, distribution, n_models, size, self.seed)
        self.budget = int(budget_mb * _MEGABYTE)
        self.prepare_search(models, items, size, engine, cache, "embedded", device)

    def time_search(
        self,
        engine: str,
        architecture: str,
        budget_mb: float,
        distribution: str,
        n_models: int,
        items: int,
        size: int,
        cache: str,
        device: str,
    ) -> SearchResult:
        return self.run_search()
