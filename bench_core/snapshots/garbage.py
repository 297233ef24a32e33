"""Removes from a store what no model uses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench_core.snapshots.folders import sync_folders
from bench_core.snapshots.locks import PATIENCE_S, locked
from bench_core.snapshots.sizes import distinct_blocks
from bench_core.snapshots.store import SnapshotStore


@dataclass(frozen=True)
class Collected:
    """What was removed, or would be."""

    blocks: tuple[Path, ...]
    """Files of blocks that no model has."""
    temporaries: tuple[Path, ...]
    """Files that were left by writers that died."""
    nbytes: int
    """Size of all these files."""


def gc(store: SnapshotStore, dry_run: bool = False, *, patience_s: float = PATIENCE_S) -> Collected:
    """Remove blocks that no model has, and what dead writers left behind.

    Writers are waited for, and wait meanwhile: their blocks are in use before their manifest is
    there. Files that are none of the store's own are left alone.

    Args:
        store: which store.
        dry_run: only find out.
        patience_s: how long writers are waited for, in seconds.

    Raises:
        CorruptFileError: a manifest is damaged, so that nobody knows which blocks it needs.
        StoreBusyError: writers were at work all that time; nothing was removed.
        SaveError: the store can't be written.
    """
    if not store.folder.is_dir():
        return Collected((), (), 0)
    with locked(store.blocks_lock, shared=False, patience_s=patience_s):
        used = distinct_blocks(store.snapshots())
        blocks = tuple(path for key, path in store.blocks.files() if key not in used)
        # Nobody else is writing now, on any host that shares the lock: all of them are dead.
        temporaries = (*store.blocks.temporaries(), *store.manifests.temporaries())
        nbytes = sum(path.stat().st_size for path in (*blocks, *temporaries))
        if not dry_run:
            _remove((*blocks, *temporaries))
    return Collected(blocks, temporaries, nbytes)


def _remove(paths: tuple[Path, ...]) -> None:
    for path in paths:
        path.unlink()
    sync_folders({path.parent for path in paths})
