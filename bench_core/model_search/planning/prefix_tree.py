"""The prefix tree over chains of blocks: two models share a node as far as their blocks agree.

Kept as arrays and built level by level, so that 100,000 models of 50 blocks take a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench_core.model_search.errors import SearchError

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

ROOT = -1
"""The parent of a node that starts from the input."""


@dataclass(frozen=True)
class PrefixTree:
    """Nodes are blocks behind a certain prefix; a node's index is above its parent's."""

    parent: Ints
    """``(n_nodes,)``: the node before, or `ROOT`."""
    block: Ints
    """``(n_nodes,)``: index into ``keys``."""
    depth: Ints
    """``(n_nodes,)``: how many blocks stand before it."""
    models: Ints
    """``(n_models,)``: the models of the tree, by the numbers that they were given."""
    ends: Ints
    """``(n_models,)``: the node at which each of them ends; identical models end at one."""
    keys: tuple[str, ...]
    nodes: Ints
    """``(n_nodes,)``: which node of the whole tree each is, in the tree of some of its models."""

    @classmethod
    def of(cls, chains: Sequence[Sequence[str]]) -> PrefixTree:
        """Return the tree over chains of block keys.

        Raises:
            SearchError: no chain, or one without a block.
        """
        lengths = np.array([len(chain) for chain in chains], dtype=np.int64)
        if not len(lengths) or not lengths.min():
            raise SearchError("a prefix tree needs at least one model, and of each one block")
        numbers: dict[str, int] = {}
        flat = [numbers.setdefault(key, len(numbers)) for chain in chains for key in chain]
        ids = np.full((len(lengths), lengths.max()), -1, dtype=np.int64)
        ids[np.arange(ids.shape[1]) < lengths[:, None]] = flat
        return cls.of_ids(ids, tuple(numbers))

    @classmethod
    def of_ids(cls, ids: Ints, keys: Sequence[str]) -> PrefixTree:
        """Return the tree over rows of block numbers, ``(n_models, longest)``.

        Args:
            ids: index into ``keys`` for each block; -1 behind the end of a shorter chain.
            keys: of the blocks.
        """
        node = np.full(len(ids), ROOT, dtype=np.int64)
        parents, blocks, depths, n_nodes = [], [], [], 0
        for depth in range(ids.shape[1]):
            active = np.flatnonzero(ids[:, depth] >= 0)
            pairs = (node[active] + 1) * len(keys) + ids[active, depth]
            distinct, where = np.unique(pairs, return_inverse=True)
            parents.append(distinct // len(keys) - 1)
            blocks.append(distinct % len(keys))
            depths.append(np.full(len(distinct), depth, dtype=np.int64))
            node[active] = n_nodes + where
            n_nodes += len(distinct)
        return cls(
            nodes=np.arange(n_nodes),
            parent=np.concatenate(parents),
            block=np.concatenate(blocks),
            depth=np.concatenate(depths),
            models=np.arange(len(ids)),
            ends=node,
            keys=tuple(keys),
        )

    @property
    def n_nodes(self) -> int:
        """Number of nodes: blocks that have to run for one batch."""
        return len(self.parent)

    def key(self, node: int) -> str:
        """Return the key of a node's block."""
        return self.keys[int(self.block[node])]

    def models_through(self, models: Sequence[int] | None = None) -> Ints:
        """Return ``(n_nodes,)``: how many of some models, or of all, have each node on their way.

        Args:
            models: by the numbers that they were given.
        """
        ends = self.ends if models is None else self.ends[np.isin(self.models, models)]
        through: Ints = np.bincount(ends, minlength=self.n_nodes).astype(np.int64)
        borders = np.searchsorted(self.depth, np.arange(int(self.depth[-1]) + 2))
        for depth in range(int(self.depth[-1]), 0, -1):
            level = slice(borders[depth], borders[depth + 1])
            np.add.at(through, self.parent[level], through[level])
        return through

    def of_models(self, models: Sequence[int]) -> PrefixTree:
        """Return the tree of some of the models, without what only the others need."""
        chosen = np.isin(self.models, np.asarray(models, dtype=np.int64))
        used = np.zeros(self.n_nodes, dtype=bool)
        reached = np.unique(self.ends[chosen])
        while len(reached):
            used[reached] = True
            above = self.parent[reached]
            reached = np.unique(above[above != ROOT])
            reached = reached[~used[reached]]
        number = np.cumsum(used) - 1
        parent = self.parent[used]
        return PrefixTree(
            nodes=self.nodes[used],
            parent=np.where(parent == ROOT, ROOT, number[parent]),
            block=self.block[used],
            depth=self.depth[used],
            models=self.models[chosen],
            ends=number[self.ends[chosen]],
            keys=self.keys,
        )
