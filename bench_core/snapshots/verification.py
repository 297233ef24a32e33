"""Reads a whole store and says what is damaged in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench_core.errors import BenchCoreError, UnknownNameError
from bench_core.snapshots.blocks import BlockDamage
from bench_core.snapshots.errors import CorruptBlockError
from bench_core.snapshots.manifest import BlockRef, Snapshot
from bench_core.snapshots.sizes import distinct_blocks
from bench_core.snapshots.store import SnapshotStore

Progress = Callable[[int, int], None]
"""Called with how many bytes of tensors were read, and how many there are."""

_WORKERS: Final = 4
"""At most; each holds one block in memory."""


@dataclass(frozen=True)
class Report:
    """What `verify` found."""

    models: int
    """How many have a readable manifest."""
    blocks: int
    """How many distinct ones these have."""
    nbytes: int
    """Of their tensors."""
    corrupt: tuple[CorruptBlockError, ...]
    """Blocks that are missing or damaged, each with the models that use it."""
    manifests: tuple[str, ...]
    """A line for each manifest that can't be read."""
    orphans: tuple[Path, ...]
    """Blocks that no model has; a writer at work may have brought them."""

    @property
    def is_whole(self) -> bool:
        """Whether every model is there with all its bits."""
        return not self.corrupt and not self.manifests


def verify(store: SnapshotStore, progress: Progress | None = None) -> Report:
    """Read every block of every model past the page cache and compare its digest.

    Args:
        store: which store; nothing in it is changed.
        progress: is told how far it has come.

    Raises:
        OSError: the files can't be read at all (no permission, too many open files).
    """
    files = list(store.blocks.files())  # first: blocks that come later are no orphans
    snapshots, manifests = _manifests(store)
    blocks = distinct_blocks(snapshots)
    total = sum(ref.nbytes for ref in blocks.values())
    corrupt: list[CorruptBlockError] = []
    done = 0
    for ref, reason in _damages(store, list(blocks.values())):
        done += ref.nbytes
        if reason is not None:
            corrupt.append(store.corrupt_block(ref, reason))
        if progress:
            progress(done, total)
    return Report(
        models=len(snapshots),
        blocks=len(blocks),
        nbytes=total,
        # A block without models is gone with the model that was removed meanwhile.
        corrupt=tuple(error for error in corrupt if error.models),
        manifests=tuple(manifests),
        orphans=() if manifests else tuple(path for key, path in files if key not in blocks),
    )


def _manifests(store: SnapshotStore) -> tuple[list[Snapshot], list[str]]:
    """Return the models, and a line for each that cannot be read."""
    snapshots, damaged = [], []
    for name in store.names():
        try:
            snapshots.append(store.snapshot(name))
        except UnknownNameError:
            continue  # removed meanwhile
        except BenchCoreError as error:
            damaged.append(str(error))
    return snapshots, damaged


def _damages(
    store: SnapshotStore, refs: Sequence[BlockRef]
) -> Iterator[tuple[BlockRef, str | None]]:
    """Yield each block with what is wrong with it, several being read at once."""

    def damage(ref: BlockRef) -> str | None:
        try:
            store.blocks.read(ref, verify=True, direct=True)
        except BlockDamage as found:
            return str(found)
        return None

    with ThreadPoolExecutor(min(_WORKERS, os.cpu_count() or 1)) as pool:
        futures = [pool.submit(damage, ref) for ref in refs]
        try:
            for ref, future in zip(refs, futures, strict=True):
                yield ref, future.result()
        finally:
            for future in futures:  # an interrupted one has many that have not begun
                future.cancel()
