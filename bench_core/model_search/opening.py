"""What a search works with, opened for it and closed after it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from bench_core.data import DataRecipe, SearchData
from bench_core.model_search.batches import batches_of
from bench_core.model_search.candidates import Candidates
from bench_core.model_search.context import Context
from bench_core.model_search.engines import engine_class
from bench_core.model_search.environment import environment
from bench_core.model_search.errors import SearchError
from bench_core.model_search.features import DiskFeatures, FeatureStore, MemoryFeatures
from bench_core.model_search.halving import plan_rounds
from bench_core.model_search.journal import Journal
from bench_core.model_search.loading import BlockLoader
from bench_core.model_search.meter import Meter
from bench_core.model_search.progress import ModelBatches, Progress
from bench_core.model_search.settings import Settings
from bench_core.snapshots import SnapshotStore


@contextlib.contextmanager
def opened_context(
    store: SnapshotStore,
    candidates: Candidates,
    data: SearchData,
    chosen: Settings,
    *,
    recipe: DataRecipe | None,
    journal: Path | str | None,
    whole_models: Path | str | None,
    progress: Progress | None,
) -> Iterator[Context]:
    """Open what a search works with, and close it again; see `bench_core.model_search.search`.

    Raises:
        SearchError: a journal for an engine that has none.
        SaveError: the journal cannot be opened.
    """
    meter, device = Meter(), torch.device(chosen.device)
    with contextlib.ExitStack() as stack:
        yield Context(
            candidates=candidates,
            data=data,
            loader=_loader(store, device, meter, chosen),
            features=_features(stack, data, chosen, journal, meter),
            meter=meter,
            device=device,
            budget=chosen.bytes_each(),
            largest_batch=_largest_batch(len(candidates), data, chosen),
            num_workers=chosen.num_workers,
            whole_models=Path(whole_models or store.folder / "whole"),
            progress=ModelBatches(progress),
            recipe=recipe,
            workers=chosen.workers,
            ray_address=chosen.ray_address,
        )


def _largest_batch(n_models: int, data: SearchData, chosen: Settings) -> int:
    rounds = plan_rounds(n_models, len(data.train), chosen.halving)
    return max(len(b) for r in rounds for b in batches_of(r, len(data.test), chosen.batch_size))


def _loader(
    store: SnapshotStore, device: torch.device, meter: Meter, chosen: Settings
) -> BlockLoader:
    policy = engine_class(chosen.engine).policy
    # Only `auto` knows how to come to a device.
    on_host = device.type == "cpu"
    return BlockLoader(store, device, meter, chosen.verify, policy if on_host else "auto")


def _features(
    stack: contextlib.ExitStack,
    data: SearchData,
    chosen: Settings,
    journal: Path | str | None,
    meter: Meter,
) -> FeatureStore:
    """Return where features go: as published through files, else in memory and the journal."""
    if engine_class(chosen.engine).features_on_disk:
        if journal is not None:
            raise SearchError(
                f"engine {chosen.engine!r} keeps its features as published and has no journal; "
                "take base_tuned, or search without a journal"
            )
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="features-"))
        return DiskFeatures(Path(folder), meter)
    if journal is None:
        return MemoryFeatures(None, meter)
    digests = {"train": data.train.digest, "test": data.test.digest}
    opened = Journal(Path(journal), environment(chosen.device), digests)
    return MemoryFeatures(stack.enter_context(contextlib.closing(opened)), meter)
