"""How many bytes models have, and how many of them they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from bench_core.snapshots.manifest import BlockRef, Snapshot


def all_blocks(snapshot: Snapshot) -> tuple[BlockRef, ...]:
    """Return the blocks of a model, its head included."""
    return (*snapshot.blocks, snapshot.head) if snapshot.head else snapshot.blocks


def distinct_blocks(snapshots: Iterable[Snapshot]) -> dict[str, BlockRef]:
    """Return the blocks that these models have, each once, by their keys."""
    return {ref.key: ref for snapshot in snapshots for ref in all_blocks(snapshot)}


def total_bytes(snapshots: Iterable[Snapshot]) -> int:
    """Return the bytes of all tensors, as if each model were stored by itself."""
    return sum(snapshot.nbytes for snapshot in snapshots)


def unique_bytes(snapshots: Iterable[Snapshot]) -> int:
    """Return the bytes of the tensors of all distinct blocks."""
    return sum(ref.nbytes for ref in distinct_blocks(snapshots).values())


def own_bytes(snapshots: Sequence[Snapshot]) -> dict[str, int]:
    """Return for each model the bytes of the blocks that no other one of these has."""
    keys = [{ref.key for ref in all_blocks(snapshot)} for snapshot in snapshots]
    users = Counter(key for own in keys for key in own)
    blocks = distinct_blocks(snapshots)
    return {
        snapshot.name: sum(blocks[key].nbytes for key in own if users[key] == 1)
        for snapshot, own in zip(snapshots, keys, strict=True)
    }
