"""What an engine works with: the models, the data, where features go, the limits, the counters."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from bench_core.data import DataRecipe, SearchData
from bench_core.model_search.batches import Batch
from bench_core.model_search.candidates import Candidates
from bench_core.model_search.environment import exact
from bench_core.model_search.errors import SearchError
from bench_core.model_search.features import FeatureStore
from bench_core.model_search.loading import BlockLoader
from bench_core.model_search.meter import Meter
from bench_core.model_search.progress import ModelBatches
from bench_core.models.chains import Activation, features_of


@dataclass(frozen=True)
class Context:
    """One search, as its engine sees it."""

    candidates: Candidates
    data: SearchData
    loader: BlockLoader
    features: FeatureStore
    meter: Meter
    device: torch.device
    budget: int
    """Bytes for blocks and intermediate results."""
    largest_batch: int
    """Most items that a batch of any round has."""
    num_workers: int
    """Processes that decode, for the published engines."""
    whole_models: Path
    """Folder of whole models in a file each, for the published engines."""
    progress: ModelBatches = field(default_factory=ModelBatches)
    recipe: DataRecipe | None = None
    """How the data were opened, where workers are to open them by themselves."""
    workers: int = 1
    """Of the distributed engine."""
    ray_address: str | None = None
    """Of a running Ray; None: the one that is in use, or one of this machine."""

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """Run blocks inside: their time is that of inference, and nothing is kept for gradients."""
        with self.meter.phase("inference"), torch.inference_mode(), exact(self.device):
            yield

    def put(self, models: tuple[int, ...], batch: Batch, output: Activation) -> None:
        """Keep a chain's output as the features of the models that end there."""
        features = features_of(output)
        if features.device.type != "cpu":
            self.meter.count("bytes_from_device", features.nbytes)
            # Which waits for the blocks that were queued.
            with self.meter.phase("inference"):
                features = features.cpu()
        self.features.put([(self.candidates.chains[models[0]], batch, features)])
        self.progress.advance(len(models))

    def head(self, model: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return weight ``(classes, feature_dim)`` and bias of the classifier a model came with.

        Raises:
            SearchError: it has none.
        """
        snapshot = self.candidates.snapshots[model]
        if snapshot.head is None:
            raise SearchError(
                f"model {snapshot.name} was stored without its classifier, which this proxy score "
                "needs; take another one, or leave the model out"
            )
        tensors = self.loader.store.read_block(snapshot.head)
        return tensors["weight"], tensors["bias"]

    def missing(self, models: Sequence[int], batch: Batch) -> tuple[int, ...]:
        """Return the models whose features of a batch are not there yet."""
        chains = self.candidates.chains
        return tuple(model for model in models if not self.features.has(chains[model], batch))

    def wanted(
        self, models: Sequence[int], batches: Sequence[Batch]
    ) -> dict[tuple[int, ...], list[Batch]]:
        """Return the batches whose features are not there yet, by the models that lack them."""
        found: dict[tuple[int, ...], list[Batch]] = defaultdict(list)
        for batch in batches:
            missing = self.missing(models, batch)
            self.progress.advance(len(models) - len(missing))
            if missing:
                found[missing].append(batch)
        return found
