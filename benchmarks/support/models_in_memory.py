"""Models in memory that share their first blocks, for the workloads that merge models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch

    from bench_core.models.chains import BlockSpec


class Models(NamedTuple):
    """Models in memory, as if each had been loaded by itself."""

    specs: list[BlockSpec]
    """What the blocks of each model compute."""
    blocks: list[list[torch.nn.Module]]
    """Of each model; equal blocks are modules of their own, with the same tensors in them."""
    keys: list[list[str]]
    """Of the blocks of each model."""
    tail: int
    """The first block that is not shared by all."""


def drawn_models(architecture: str, distribution: str, n_models: int, seed: int) -> Models:
    """Return models that share their first blocks with the first of them, as many as published.

    How many of its last blocks each has of its own is drawn as in
    `bench_core.snapshots.synthetic_set`.
    """
    from bench_core.models import chain
    from bench_core.snapshots.draws import first_own_block, retrained_blocks

    cuts = chain(architecture).cuts
    drawn = [0, *retrained_blocks(distribution, len(cuts), n_models - 1)]
    return _models(architecture, [first_own_block(cuts, own) for own in drawn[:n_models]], seed)


def models_with_heads(architecture: str, n_models: int, seed: int) -> Models:
    """Return models that share all blocks before the last one that can be re-trained."""
    from bench_core.models import chain
    from bench_core.snapshots.draws import first_own_block

    first_own = first_own_block(chain(architecture).cuts, 1)
    return _models(architecture, [first_own] * n_models, seed)


def _models(architecture: str, first_own: Sequence[int], seed: int) -> Models:
    """Return models whose blocks from ``first_own`` on are initialised for each anew."""
    from bench_core.models import chain
    from bench_core.models.chains import block_module, initialised
    from bench_core.snapshots.blocks import parameters_digest
    from bench_core.snapshots.draws import derived_seed

    specs = list(chain(architecture).blocks)
    kept: dict[tuple[int, int], tuple[dict[str, torch.Tensor], str]] = {}

    def block(model: int, position: int) -> tuple[torch.nn.Module, str]:
        owner = model if position >= first_own[model] else 0
        if (owner, position) not in kept:
            tensors = initialised(specs[position], derived_seed(seed, owner, position))
            key = f"{specs[position].digest.hex()}-{parameters_digest(tensors)}"
            kept[owner, position] = tensors, key
        tensors, key = kept[owner, position]
        return block_module(specs[position], tensors), key

    made = [[block(m, position) for position in range(len(specs))] for m in range(len(first_own))]
    return Models(
        specs=specs,
        blocks=[[module for module, _ in model] for model in made],
        keys=[[key for _, key in model] for model in made],
        tail=min(first_own),
    )
