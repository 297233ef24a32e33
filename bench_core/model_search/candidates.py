"""The models of a search: their chains of blocks, and which of them are the same model."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from bench_core.data import SearchData
from bench_core.model_search.errors import SearchError
from bench_core.model_search.fitting import check_fit
from bench_core.models.chains.resources import BlockResources, chain_resources, input_shapes
from bench_core.snapshots import BlockRef, Snapshot


@dataclass(frozen=True)
class Candidates:
    """All models that take part, by position: a model is known by its index from here on."""

    snapshots: tuple[Snapshot, ...]
    resources: Mapping[str, BlockResources]
    """By a block's key: what it needs for one item of this search's data."""
    input_bytes: int
    """Of one item as a model takes it."""

    @classmethod
    def of(cls, snapshots: Sequence[Snapshot], data: SearchData) -> Candidates:
        """Check that the models take the data, and look at what their blocks need.

        Raises:
            SearchError: no model, a name twice, or models that do not take the data.
        """
        _check_names(snapshots)
        check_fit(snapshots, data)
        shapes = input_shapes(data.train.kind, data.train.shape)
        resources: dict[str, BlockResources] = {}
        for snapshot in snapshots:
            found = chain_resources([block.spec for block in snapshot.blocks], shapes)
            keys = [block.key for block in snapshot.blocks]
            resources |= dict(zip(keys, found, strict=True))
        return cls(tuple(snapshots), resources, sum(shape.nbytes for shape in shapes))

    def __len__(self) -> int:
        """Return the number of models."""
        return len(self.snapshots)

    def name(self, model: int) -> str:
        """Return a model's name."""
        return self.snapshots[model].name

    @cached_property
    def keys(self) -> list[tuple[str, ...]]:
        """For each model the keys of its blocks."""
        return [tuple(block.key for block in snapshot.blocks) for snapshot in self.snapshots]

    @cached_property
    def chains(self) -> list[str]:
        """For each model a digest of its blocks' keys: equal ones have equal features."""
        return [
            hashlib.blake2b("/".join(k).encode(), digest_size=16).hexdigest() for k in self.keys
        ]

    @cached_property
    def blocks(self) -> dict[str, BlockRef]:
        """All blocks by key."""
        return {block.key: block for snapshot in self.snapshots for block in snapshot.blocks}

    def having(self, key: str) -> list[int]:
        """Return the models that have a block."""
        return [model for model, keys in enumerate(self.keys) if key in keys]


def _check_names(snapshots: Sequence[Snapshot]) -> None:
    if not snapshots:
        raise SearchError("no models to search among; give at least one")
    times = Counter(snapshot.name for snapshot in snapshots)
    twice = next((name for name, count in times.items() if count > 1), None)
    if twice is not None:
        raise SearchError(f"two models are named {twice}; names must differ")
