"""Small stores of models with chosen sharing, and data for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from hypothesis import strategies as st

from bench_core import data
from bench_core.data import SearchData
from bench_core.models.chains import block_module, family, initialised, run_chain
from bench_core.models.chains.mlp import MlpConfiguration
from bench_core.snapshots import Snapshot, SnapshotStore

WIDTH = 8

chains = st.lists(st.integers(0, 2), min_size=1, max_size=4).map(tuple)
"""A model: the seed of each of its blocks. Few seeds and lengths, so that models share prefixes,
are prefixes of each other, are identical, or have nothing in common."""
model_sets = st.lists(chains, min_size=1, max_size=7)


def store_of(folder: Path, models: Sequence[Sequence[int]]) -> SnapshotStore:
    """Return a store with a model for each row of seeds, ``m0``, ``m1``, …"""
    store = SnapshotStore(folder)
    for index, seeds in enumerate(models):
        configuration = MlpConfiguration(WIDTH, (WIDTH,) * len(seeds))
        chain = family("mlp").chain(configuration, f"mlp{len(seeds)}")
        tensors = [initialised(s, seed) for s, seed in zip(chain.blocks, seeds, strict=True)]
        store.add(f"m{index}", chain, tensors)
    return store


def items(n_train: int, n_test: int = 12) -> SearchData:
    """Return vectors of three classes."""
    return data.load("vectors", width=WIDTH, n_classes=3, n_train=n_train, n_test=n_test)


def plain_features(store: SnapshotStore, snapshot: Snapshot, inputs: torch.Tensor) -> torch.Tensor:
    """Return what the model's own forward gives."""
    modules = [block_module(block.spec, store.read_block(block)) for block in snapshot.blocks]
    with torch.inference_mode():
        return run_chain(modules, inputs)
