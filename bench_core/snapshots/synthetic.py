"""Synthetic sets of models: copies of one another with freshly initialised last blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from bench_core.models.chains import ChainSpec, chain, initialised
from bench_core.snapshots.draws import (
    Distribution,
    derived_seed,
    distribution_name,
    first_own_block,
    retrained_blocks,
)
from bench_core.snapshots.manifest import Snapshot
from bench_core.snapshots.reuse import Progress, check_base, stored_as_planned
from bench_core.snapshots.sources import embedded_sources
from bench_core.snapshots.store import Part, SnapshotStore
from bench_core.snapshots.trained import trained_base


def synthetic_set(
    store: SnapshotStore,
    architecture: str,
    distribution: Distribution,
    n_models: int,
    seed: int = 0,
    *,
    base: Snapshot | Literal["random", "trained"] = "random",
    chained: bool = True,
    progress: Progress | None = None,
) -> list[Snapshot]:
    """Return a set of models that share their first blocks, made unless they are in the store.

    Model 0 is the base. Each other model is a copy of one that was made before, drawn uniformly,
    whose last trainable blocks are initialised anew; how many is drawn from the distribution
    (Alsatian, section 5.1). With none it is an identical copy. The models of a smaller set are
    the first ones of a larger one. Blocks depend on the seed, the model's and the block's place,
    and on the library's way to initialise such a block; two stores hold the same.

    What was made is kept: a set that was interrupted goes on at the model it was at.

    Args:
        store: where the models are put.
        architecture: one of `bench_core.models.chains.chain_names`.
        distribution: one of `bench_core.snapshots.draws.DISTRIBUTIONS`, or the numbers themselves.
        n_models: the base included.
        seed: of the initialisation, and of which model is copied.
        base: what to begin with: ``random``, a model that is initialised; ``trained``, one that is
            trained on the first of `embedded_sources`; or a stored model of this architecture.
        chained: False copies the base each time.
        progress: is told how many models there are.

    Raises:
        UnknownNameError: there is no such architecture or distribution.
        DrawError: the given numbers are too few, or too large.
        OtherSetError: the store has models of these names that were made otherwise.
        TensorMismatchError: the base is of another architecture.
        SaveError: the store can't be written.
    """
    spec = chain(architecture)
    given = _base(store, spec, base, seed)
    name = f"{architecture}-{distribution_name(distribution).lower()}"
    drawn = [0, *retrained_blocks(distribution, len(spec.cuts), max(n_models - 1, 0))]
    models: list[Snapshot] = []
    for index, retrained in enumerate(drawn[:n_models]):
        copied = models[_copied(seed, index, chained=chained)] if index else given
        origin = _origin(distribution, seed, copied, retrained)
        models.append(
            stored_as_planned(store, f"{name}-{index:03d}", origin)
            or _make(store, f"{name}-{index:03d}", spec, copied, origin, (seed, index))
        )
        if progress:
            progress(len(models), n_models)
    return models


def _base(
    store: SnapshotStore,
    spec: ChainSpec,
    base: Snapshot | Literal["random", "trained"],
    seed: int,
) -> Snapshot | None:
    """Return the stored model that the set begins with; None if one is to be initialised."""
    if base == "random":
        return None
    if base == "trained":
        return trained_base(store, spec.architecture, embedded_sources(spec.input)[0], seed=seed)
    check_base(spec, base)
    return base


def _make(
    store: SnapshotStore,
    name: str,
    spec: ChainSpec,
    copied: Snapshot | None,
    origin: Mapping[str, Any],
    seeds: tuple[int, int],
) -> Snapshot:
    first = first_own_block(spec.cuts, origin["retrained"]) if copied else 0
    shared: Sequence[Part] = copied.blocks[:first] if copied else ()
    fresh = [
        initialised(block, derived_seed(*seeds, first + index))
        for index, block in enumerate(spec.blocks[first:])
    ]
    return store.add(name, spec, [*shared, *fresh], origin=origin)


def _origin(
    distribution: Distribution, seed: int, copied: Snapshot | None, retrained: int
) -> dict[str, Any]:
    """Return what the model's manifest says of how it was made."""
    return {
        "kind": "synthetic",
        "distribution": distribution_name(distribution),
        "seed": seed,
        "base": copied.name if copied else None,
        "retrained": retrained,
    }


def _copied(seed: int, index: int, *, chained: bool) -> int:
    """Return which of the models before is copied."""
    return derived_seed(seed, "base", index) % index if chained else 0
