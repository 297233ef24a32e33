"""How much work a tree is, in closed form: what engines must come to when they count theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench_core.model_search.planning.prefix_tree import PrefixTree

Mode = Literal["apart", "shared", "resident"]
"""``apart``: every model by itself. ``shared``: what models share runs once, and is read once a
pass. ``resident``: the same, and equal blocks behind different prefixes are read once, too."""


@dataclass(frozen=True)
class PlannedWork:
    """Work without a clock; of several rounds it is added up."""

    block_executions: int
    """Forward passes of one block over one batch."""
    item_blocks: int
    """The same, times the items of the batch."""
    block_loads: int
    bytes_loaded: int

    def __add__(self, other: PlannedWork) -> PlannedWork:
        """Return the work of both."""
        return PlannedWork(
            self.block_executions + other.block_executions,
            self.item_blocks + other.item_blocks,
            self.block_loads + other.block_loads,
            self.bytes_loaded + other.bytes_loaded,
        )


def planned_work(
    prefixes: PrefixTree,
    batch_sizes: Sequence[int],
    block_bytes: Mapping[str, int],
    mode: Mode,
    passes: int = 1,
) -> PlannedWork:
    """Return the work of one round.

    Args:
        prefixes: the tree of the models that are in the round.
        batch_sizes: items of each batch of the round.
        block_bytes: bytes of each block, by key.
        mode: what models share.
        passes: how often the blocks are read: once for each chunk; 0 where they are in memory.
    """
    uses = prefixes.models_through() if mode == "apart" else np.ones(prefixes.n_nodes, np.int64)
    loads = np.bincount(prefixes.block, weights=uses, minlength=len(prefixes.keys))
    if mode == "resident":
        loads = np.minimum(loads, 1)
    sizes = np.array([block_bytes[key] for key in prefixes.keys], dtype=np.int64)
    n_runs = int(uses.sum())
    return PlannedWork(
        block_executions=n_runs * len(batch_sizes),
        item_blocks=n_runs * sum(batch_sizes),
        block_loads=int(loads.sum()) * passes,
        bytes_loaded=int(loads.astype(np.int64) @ sizes) * passes,
    )
