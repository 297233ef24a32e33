"""Several models as one module with a head for each: what they share runs once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from bench_core.model_search.errors import SearchError
from bench_core.model_search.planning import ExecutionTree, PrefixTree
from bench_core.models.chains import Activation, BlockSpec, features_of
from bench_core.snapshots.blocks import parameters_digest


class MergedModel(nn.Module):
    """Models that share their first blocks, as one module.

    Attributes:
        tree: of what the models share and of their branches.
        parts: a module for each unit of the tree: neighbouring blocks between two branchings.
    """

    def __init__(self, tree: ExecutionTree, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.tree = tree
        self.parts = nn.ModuleList(parts)

    def forward(self, inputs: Activation) -> list[torch.Tensor]:
        """Return for each model its features, ``(batch, feature_dim)``; depth first.

        What a branching gave is let go of as soon as its last branch has begun.
        """
        units = self.tree.units
        features: dict[int, torch.Tensor] = {}
        waiting = [(root, inputs) for root in reversed(self.tree.roots)]
        while waiting:
            unit, given = waiting.pop()
            output = self.parts[unit](given)
            for model in units[unit].models:
                features[model] = features_of(output)
            waiting += [(child, output) for child in reversed(units[unit].children)]
        return [features[model] for model in range(len(features))]


def merge(models: Sequence[Sequence[nn.Module]], keys: Sequence[Sequence[str]]) -> MergedModel:
    """Return one module of several models; no tensor is copied.

    Models share what they have in common from the input on. Blocks are the first model's that has
    them, so the other models' copies can be let go of.

    Args:
        models: for each its blocks.
        keys: for each the keys of its blocks, such as `bench_core.snapshots.BlockRef.key` or
            `block_key`: equal keys promise equal blocks.

    Raises:
        SearchError: no model, one without a block, or not a key for each block.

    Example:
        >>> from torch import nn
        >>> shared, one, other = nn.Linear(4, 3), nn.Linear(3, 2), nn.Linear(3, 5)
        >>> both = merge([[shared, one], [shared, other]], [["s", "1"], ["s", "2"]])
        >>> [tuple(head.shape) for head in both(torch.ones(7, 4))]
        [(7, 2), (7, 5)]
    """
    _check(models, keys)
    tree = ExecutionTree.of(PrefixTree.of(keys))
    blocks: dict[str, nn.Module] = {}
    for modules, names in zip(models, keys, strict=True):
        for module, name in zip(modules, names, strict=True):
            blocks.setdefault(name, module)
    parts = [nn.Sequential(*(blocks[key] for key in tree.block_keys(unit))) for unit in tree.units]
    return MergedModel(tree, parts)


def block_key(spec: BlockSpec, module: nn.Module) -> str:
    """Return a block's key, computed from its tensors: that of the snapshot store.

    Args:
        spec: what the block computes.
        module: the block.
    """
    return f"{spec.digest.hex()}-{parameters_digest(module.state_dict())}"


def _check(models: Sequence[Sequence[nn.Module]], keys: Sequence[Sequence[str]]) -> None:
    n_blocks, n_keys = [len(model) for model in models], [len(names) for names in keys]
    if n_blocks != n_keys:
        raise SearchError(
            f"models of {n_blocks} blocks with {n_keys} keys; expected a key for each block"
        )
