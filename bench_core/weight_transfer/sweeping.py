"""Removes from a layer store what nobody needs because somebody died half way."""

from __future__ import annotations

from dataclasses import dataclass

from bench_core.formats.atomic import is_dead
from bench_core.weight_transfer.store import LayerStore


@dataclass(frozen=True)
class Swept:
    """What a sweep removed."""

    unpublished: int
    """Puts that ended between their bytes and their record."""
    holds: int
    """Holds of puts and retirements that did not end."""
    pins: int
    """Pins of readers that died."""
    nbytes: int
    """Freed by giving back holds."""


def sweep(store: LayerStore) -> Swept:
    """Remove what puts, retirements and readers left whose process is dead on this host.

    What belongs to a process that may still live stays: of another host nobody can tell. Others
    may work on the store meanwhile.

    Raises:
        StoreError: a shard does not answer.
    """
    pins = _stale_pins(store)
    holds, freed = _stale_holds(store)
    return Swept(unpublished=_unpublished(store), holds=holds, pins=pins, nbytes=freed)


def _stale_pins(store: LayerStore) -> int:
    stale = [
        (model, pin)
        for shard in store.shards
        for model, pin in shard.leftovers().pins
        if is_dead(pin)
    ]
    for model, pin in stale:
        store.unpin(model, pin)
    return len(stale)


def _stale_holds(store: LayerStore) -> tuple[int, int]:
    """Give back holds of retired models and of dead puts; return how many, and the freed bytes."""
    holds = [hold for shard in store.shards for hold in shard.leftovers().holds]
    retired = _retired_tokens(store) if holds else set()
    over = [hold for hold in holds if hold.token in retired or is_dead(hold.token)]
    # Asked for last: a put that was published just before its process ended is seen to be. One that
    # is retired and not pinned by now cannot be pinned any more.
    kept = frozenset().union(*(shard.leftovers().tokens for shard in store.shards))
    stale = [hold for hold in over if hold.token not in kept]
    freed = sum(store.shard(hold.owner).release((hold.owner,), hold.token) for hold in stale)
    return len(stale), freed


def _unpublished(store: LayerStore) -> int:
    """Remove bytes that no record names; also of a retirement that did not come to remove them."""
    left = [(shard, token) for shard in store.shards for token in shard.leftovers().unpublished]
    retired = _retired_tokens(store) if left else set()
    stale = [(shard, token) for shard, token in left if token in retired or is_dead(token)]
    for shard, token in stale:
        shard.discard(token)
    return len(stale)


def _retired_tokens(store: LayerStore) -> set[str]:
    return {store.record(model).token for shard in store.shards for model in shard.models(True)}
