"""Models of a set that are in the store already, and whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bench_core.errors import BenchCoreError, TensorMismatchError
from bench_core.models.chains import ChainSpec
from bench_core.snapshots.errors import CorruptBlockError
from bench_core.snapshots.manifest import Snapshot
from bench_core.snapshots.sizes import all_blocks
from bench_core.snapshots.store import SnapshotStore

Progress = Callable[[int, int], None]
"""Called with how many models of a set there are, and how many there will be."""


class OtherSetError(BenchCoreError, ValueError):
    """A model of the same name is in the store, but it was made otherwise."""


def stored_as_planned(store: SnapshotStore, name: str, plan: Mapping[str, Any]) -> Snapshot | None:
    """Return the model if the store holds it with all its blocks; None if it has to be made.

    Only its manifest and the headers of its blocks' files are read.

    Args:
        store: where.
        name: of the model.
        plan: what its origin must say for it to be the model that is wanted.

    Raises:
        OtherSetError: the store has another model of this name.
    """
    if name not in store.names():
        return None
    found = store.snapshot(name)
    for key, wanted in plan.items():
        if found.origin.get(key) != wanted:
            raise OtherSetError(
                f"the model {name} in the store has {key} {found.origin.get(key)!r}, asked for "
                f"was {wanted!r}; remove that set or choose another folder"
            )
    try:
        for part in all_blocks(found):
            store.check_block(part)
    except CorruptBlockError:
        return None
    return found


def check_base(spec: ChainSpec, base: Snapshot) -> None:
    """See that models of this chain can be copied from the base.

    Raises:
        TensorMismatchError: the base is of another architecture.
    """
    if tuple(block.spec for block in base.blocks) != spec.blocks:
        raise TensorMismatchError(
            f"the base {base.name} is a {base.architecture} of {len(base.blocks)} blocks, asked "
            f"for was a set of {spec.architecture}; choose a base of this architecture"
        )
