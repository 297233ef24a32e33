"""The models of a search: their chains of blocks, and which of them are the same model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from bench_core.data import SearchData
from bench_core.model_search.errors import SearchError
from bench_core.models.chains import InputSpec
from bench_core.models.chains.resources import BlockResources, chain_resources, input_shapes
from bench_core.snapshots import BlockRef, Snapshot

_NAMED: Final = 5
"""So many models are named in a refusal; a store may hold thousands."""


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
        _check_inputs(snapshots, data)
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


def fitting(
    snapshots: Sequence[Snapshot], data: SearchData
) -> tuple[list[Snapshot], dict[str, str]]:
    """Return the models that take the data, and for each other one by name why it does not."""
    given = InputSpec(data.train.kind, data.train.shape)
    misfits = {
        snapshot.name: f"takes {_described(snapshot.input)}, but the data are {_described(given)}"
        for snapshot in snapshots
        if not snapshot.input.accepts(given)
    }
    return [snapshot for snapshot in snapshots if snapshot.name not in misfits], misfits


def _check_inputs(snapshots: Sequence[Snapshot], data: SearchData) -> None:
    _, misfits = fitting(snapshots, data)
    if not misfits:
        return
    listed = [f"{name} {reason}" for name, reason in misfits.items()][:_NAMED]
    more = f"; and {len(misfits) - _NAMED} more" if len(misfits) > _NAMED else ""
    raise SearchError(
        f"{len(misfits)} of {len(snapshots)} models do not take the data: {'; '.join(listed)}{more}"
        "; leave them out (skip_unusable), or prepare the data for them"
    )


def _check_names(snapshots: Sequence[Snapshot]) -> None:
    if not snapshots:
        raise SearchError("no models to search among; give at least one")
    names = [snapshot.name for snapshot in snapshots]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SearchError(f"two models are named {twice}; names must differ")


def _described(spec: InputSpec) -> str:
    sizes = " x ".join("any" if size is None else str(size) for size in spec.shape)
    return f"{spec.kind} of {sizes}"
