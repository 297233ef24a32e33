"""How long it takes to find the best base model among many, by engine, and where the time goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.support.imported_models import check_models, imported
from benchmarks.support.model_sets import ModelSet, check_source, combined, synthetic, trained
from benchmarks.support.named_params import check_names
from benchmarks.support.search_base import SearchBenchmark, axes
from harness.errors import RefusedError
from harness.records import Param

ENGINES = ("base", "base_tuned", "shift", "alsatian", "shared")
WITH_BUDGET = ("alsatian", "shared")
"""Engines that hold their blocks and intermediate results within a budget."""
_MEGABYTE = 10**6


class Search(SearchBenchmark):
    """Inside the clock: `search` whole, over a synthetic set, its manifests opened to the ranking.

    Ideal: see `SearchBenchmark`.
    """

    params, param_names = axes(
        engine=ENGINES,
        distribution=("TOP_LAYERS",),
        architecture=("mlp_tiny", "resnet_tiny"),
        n_models=(8,),
    )
    quick = {"engine": ENGINES}

    def model_set(self, given: Mapping[str, Any]) -> ModelSet:
        return _synthetic(given, self.seed)


class TrainedSearch(SearchBenchmark):
    """Inside the clock: one whole search over a set of really trained models.

    ``sources`` is what they were trained on: views of the embedded data, or a folder of data sets.

    Ideal: see `SearchBenchmark`.
    """

    params, param_names = axes(
        engine=ENGINES,
        architecture=("mlp_tiny", "resnet_tiny"),
        n_models=(6,),
        epochs=(2,),
        distribution=("TWENTY_FIVE_PERCENT",),
        sources=("embedded",),
    )
    quick = {"engine": ENGINES}
    open_params = (*SearchBenchmark.open_params, "sources")

    @classmethod
    def check_param(cls, name: str, value: Param) -> None:
        """Raise where an experiment names something that does not exist."""
        return check_source(str(value)) if name == "sources" else check_names(name, value)

    def model_set(self, given: Mapping[str, Any]) -> ModelSet:
        names = ("distribution", "sources", "size", "device")
        own = {name: given[name] for name in names}
        counts = (given["n_models"], given["epochs"])
        return trained(given["architecture"], *counts, self.seed, **own)


class CombinedSearch(SearchBenchmark):
    """Inside the clock: one whole search over sets of several architectures in one store.

    Ideal: see `SearchBenchmark`.
    """

    params, param_names = axes(
        engine=ENGINES,
        architectures=("mlp_tiny+mlp_deep", "resnet_tiny+vit_tiny"),
        distribution=("TOP_LAYERS",),
        n_models=(4,),
    )
    quick = {"engine": ENGINES}
    open_params = (*SearchBenchmark.open_params, "architectures")

    @classmethod
    def check_param(cls, name: str, value: Param) -> None:
        """Raise where an experiment names something that does not exist."""
        if name != "architectures":
            return check_names(name, value)
        for architecture in str(value).split("+"):
            check_names("architecture", architecture)
        return None

    def model_set(self, given: Mapping[str, Any]) -> ModelSet:
        parts = given["architectures"].split("+")
        distribution, count, size = (given[n] for n in ("distribution", "n_models", "size"))
        return combined(parts, distribution, count, size, self.seed)


class ImportedSearch(SearchBenchmark):
    """Inside the clock: one whole search over models that were imported from others' checkpoints.

    ``models`` is a folder of Hugging Face checkpoints, an absolute path or one in the data folder,
    or a store that `bench-core snapshots import` made; where there is none, the case is skipped.
    ``n_models`` of it take part, 0: all. Or it is architectures, such as ``resnet_tiny+vit_tiny``:
    then the transformers library writes that many checkpoints of each first. The import is not in
    the time.

    Ideal: see `SearchBenchmark`.
    """

    params, param_names = axes(engine=ENGINES, models=("resnet_tiny",), n_models=(6,))
    quick = {"engine": ENGINES}
    open_params = (*SearchBenchmark.open_params, "models")

    @classmethod
    def check_param(cls, name: str, value: Param) -> None:
        """Raise where an experiment names something that does not exist."""
        return check_models(str(value)) if name == "models" else check_names(name, value)

    def model_set(self, given: Mapping[str, Any]) -> ModelSet:
        found = imported(given["models"], given["n_models"], self.seed)
        self.left_out, self.whole_models = found.n_failed, found.whole
        return found.models

    def verify(self) -> None:
        super().verify()
        self.note(n_imported=len(self.models.names), not_imported=self.left_out)


class MemoryLimit(SearchBenchmark):
    """Inside the clock: one whole search under a budget for blocks and intermediate results.

    Base and SHiFT have none: they are refused.

    Ideal: see `SearchBenchmark`.
    """

    params, param_names = axes(
        engine=WITH_BUDGET,
        architecture=("mlp_tiny", "resnet_tiny"),
        budget_mb=(8, 80),
        distribution=("FIFTY_PERCENT",),
        n_models=(8,),
    )
    quick = {"engine": WITH_BUDGET}

    def model_set(self, given: Mapping[str, Any]) -> ModelSet:
        if self.engine not in WITH_BUDGET:
            raise RefusedError(f"the engine {self.engine} keeps to no budget")
        self.budget = int(given["budget_mb"] * _MEGABYTE)
        return _synthetic(given, self.seed)


def _synthetic(given: Mapping[str, Any], seed: int) -> ModelSet:
    names = ("architecture", "distribution", "n_models", "size")
    return synthetic(**{name: given[name] for name in names}, seed=seed)
