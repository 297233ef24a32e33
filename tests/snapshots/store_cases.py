"""Small models for the store's tests, and what its tests start as processes beside themselves."""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerContext
from multiprocessing.synchronize import Event
from pathlib import Path

import torch

from bench_core.models.chains import BlockSpec, ChainSpec, InputSpec
from bench_core.models.digests import equal_bytes
from bench_core.snapshots import SnapshotStore

WIDTHS = (4, 6, 8, 8, 3)
LARGE = (256, 1024, 1024, 1024, 256)
"""Blocks of 1 to 4 MiB."""

Tensors = Mapping[str, torch.Tensor]


def spec_of(widths: Sequence[int] = WIDTHS) -> ChainSpec:
    """Return a chain of linear layers."""
    blocks = tuple(
        BlockSpec.of("mlp.dense", inputs=inputs, outputs=outputs)
        for inputs, outputs in itertools.pairwise(widths)
    )
    cuts = tuple(range(len(blocks), -1, -1))
    vector = InputSpec("vector", (widths[0],))
    return ChainSpec("mlp", blocks, vector, widths[-1], cuts)


def tensors_of(seed: int, widths: Sequence[int] = WIDTHS) -> list[dict[str, torch.Tensor]]:
    """Return random tensors for each block of `spec_of`."""
    generator = torch.Generator().manual_seed(seed)
    return [
        {
            "0.weight": torch.randn(outputs, inputs, generator=generator),
            "0.bias": torch.randn(outputs, generator=generator),
        }
        for inputs, outputs in itertools.pairwise(widths)
    ]


def assert_same(found: Tensors, expected: Tensors) -> None:
    """Compare names, types, shapes and bits."""
    assert set(found) == set(expected)
    for name in expected:
        assert equal_bytes(found[name], expected[name]), name


def assert_stored(store: SnapshotStore, name: str, tensors: Sequence[Tensors]) -> None:
    """See that a model can be read and is this one."""
    blocks = store.snapshot(name).blocks
    for ref, expected in zip(blocks, tensors, strict=True):
        assert_same(store.read_block(ref, verify=True), expected)


def files_of(store: SnapshotStore) -> list[str]:
    """Return the names of all files in the store, hidden ones too, but for its locks."""
    return sorted(
        path.name
        for path in store.folder.rglob("*")
        if path.is_file() and not path.name.endswith(".lock")
    )


def context() -> ForkServerContext:
    """Return a way to start processes that have torch from their first moment."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["torch", "bench_core.snapshots", "store_cases"])
    return processes


def add_models(folder: Path, seeds: Sequence[int], begun: Event) -> None:
    """Add large models that share their first two blocks, one for each seed."""
    store, shared = SnapshotStore(folder), tensors_of(0, LARGE)[:2]
    begun.set()
    for seed in seeds:
        add_one(store, seed, shared)


def add_one(store: SnapshotStore, seed: int, shared: Sequence[Tensors]) -> None:
    """Add one of these models."""
    store.add(f"model-{seed}", spec_of(LARGE), [*shared, *tensors_of(seed, LARGE)[2:]])


def add_and_remove(folder: Path, times: int) -> None:
    """Add small models and remove every other one."""
    store = SnapshotStore(folder)
    for seed in range(times):
        store.add(f"model-{seed}", spec_of(), tensors_of(seed))
        if seed % 2:
            store.remove(f"model-{seed}")
