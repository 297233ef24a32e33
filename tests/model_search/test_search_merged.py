"""Models as one module: every head computes what its model does, and what is shared runs once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bench_core.model_search import SearchError
from bench_core.model_search.merged import MergedModel, block_key, merge
from bench_core.model_search.rates import distinct_runs
from bench_core.models.chains import BlockSpec, block_module, chain, initialised, run_chain
from bench_core.snapshots import SnapshotStore, synthetic_set

DENSE = BlockSpec.of("mlp.dense", inputs=6, outputs=6)
BLOCKS = [block_module(DENSE, initialised(DENSE, seed)) for seed in range(3)]


def dense_models(chains: list[list[int]]) -> MergedModel:
    return merge(
        [[BLOCKS[block] for block in blocks] for blocks in chains],
        [[str(block) for block in blocks] for blocks in chains],
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=4), min_size=1, max_size=6))
def test_each_head_computes_what_its_model_does(chains: list[list[int]]) -> None:
    """Identical models, models within others and models with nothing in common included."""
    images = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    found = dense_models(chains)(images)
    expected = [run_chain([BLOCKS[block] for block in blocks], images) for blocks in chains]
    assert len(found) == len(chains)
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))


def test_what_is_shared_runs_once() -> None:
    runs: list[nn.Module] = []
    merged = dense_models([[0, 1, 2], [0, 1, 1], [0, 2]])
    handles = [
        block.register_forward_hook(lambda module, *_: runs.append(module)) for block in BLOCKS
    ]
    merged(torch.ones(1, 6))
    for handle in handles:
        handle.remove()
    assert len(runs) == 5
    assert runs.count(BLOCKS[0]) == 1


@pytest.mark.parametrize("architecture", ["resnet_tiny", "vit_tiny", "bert_tiny"])
def test_a_set_of_models_is_merged_bit_for_bit(architecture: str) -> None:
    spec = chain(architecture)
    shared = [initialised(block, 0) for block in spec.blocks]
    models = []
    for own in range(4):
        fresh = [initialised(block, own) for block in spec.blocks[len(shared) - own :]]
        tensors = shared[: len(shared) - own] + fresh
        models.append([block_module(*pair) for pair in zip(spec.blocks, tensors, strict=True)])
    keys = [[block_key(*pair) for pair in zip(spec.blocks, model, strict=True)] for model in models]
    inputs = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    mask = torch.tensor([[1] * 8, [1] * 5 + [0] * 3])
    taken = (torch.arange(16).view(2, 8), mask) if spec.input.kind == "tokens" else inputs
    merged = merge(models, keys)
    with torch.inference_mode():
        found, expected = merged(taken), [run_chain(model, taken) for model in models]
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
    n_blocks = sum(len(part) for part in merged.parts if isinstance(part, nn.Sequential))
    assert n_blocks == len(distinct_runs([tuple(names) for names in keys]))


def test_a_computed_key_is_the_store_s(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    (snapshot,) = synthetic_set(store, "mlp_tiny", "TOP_LAYERS", 1, seed=3)
    for block, tensors in zip(snapshot.blocks, map(store.read_block, snapshot.blocks), strict=True):
        assert block_key(block.spec, block_module(block.spec, tensors)) == block.key


def test_no_tensor_is_copied_and_the_first_model_s_blocks_are_kept() -> None:
    first, second = (nn.Linear(2, 2) for _ in range(2))
    merged = merge([[first], [second]], [["same"], ["same"]])
    assert list(merged.parameters()) == [first.weight, first.bias]


@pytest.mark.parametrize("chains", [[], [[]], [[0], []]])
def test_no_model_and_a_model_without_a_block_are_refused(chains: list[list[int]]) -> None:
    with pytest.raises(SearchError, match="at least one model"):
        dense_models(chains)


def test_a_missing_key_is_refused() -> None:
    with pytest.raises(SearchError, match=r"blocks with \[1\] keys"):
        merge([[BLOCKS[0], BLOCKS[1]]], [["0"]])
