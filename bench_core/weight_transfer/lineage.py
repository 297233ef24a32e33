"""Where models come from: donors, contributors, descendants, common ancestors, popular donors.

A retired model's record stays, so its children still know it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench_core.weight_transfer.records import ModelRecord
from bench_core.weight_transfer.store import LayerStore


@dataclass(frozen=True)
class Contribution:
    """What one model gave to another."""

    owner: int
    layers: int
    """With at least one tensor."""
    nbytes: int


def ancestry(store: LayerStore, model: int) -> tuple[int, ...]:
    """Return a model's donor, its donor's donor and so on: one look-up a generation.

    Raises:
        UnknownModelError: there never was such a model.
    """
    chain: list[int] = []
    parent = store.record(model).parent
    while parent is not None:
        chain.append(parent)
        parent = store.record(parent).parent
    return tuple(chain)


def contributors(store: LayerStore, model: int) -> tuple[Contribution, ...]:
    """Return whose tensors a model has, most bytes first: one look-up, whatever its age.

    Raises:
        UnknownModelError: there never was such a model.
    """
    record = store.record(model)
    nbytes: Counter[int] = Counter()
    layers: dict[int, set[str]] = {}
    for (name, spec), owner in zip(record.graph.tensors().items(), record.owners, strict=True):
        nbytes[owner] += spec.nbytes
        layers.setdefault(owner, set()).add(name.partition(".")[0])
    return tuple(
        Contribution(owner, len(layers[owner]), nbytes[owner])
        for owner in sorted(layers, key=lambda owner: (-nbytes[owner], owner))
    )


def descendants(store: LayerStore, model: int) -> frozenset[int]:
    """Return all models, live or retired, that have a model among their ancestors.

    Raises:
        UnknownModelError: there never was such a model.
    """
    store.record(model)
    children: dict[int, list[int]] = {}
    for record in _all_records(store):
        if record.parent is not None:
            children.setdefault(record.parent, []).append(record.id)
    found: set[int] = set()
    waiting = [model]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child not in found:
                found.add(child)
                waiting.append(child)
    return frozenset(found)


def most_recent_common_ancestor(store: LayerStore, a: int, b: int) -> int | None:
    """Return the latest model from which both come, along donors; one of them may be it itself.

    By donors, not by contributed tensors: an ancestor all of whose tensors were replaced since
    counts. None where they have no ancestor in common.

    Raises:
        UnknownModelError: there never was such a model.
    """
    line = {a, *ancestry(store, a)}
    return next((model for model in (b, *ancestry(store, b)) if model in line), None)


def popularity(store: LayerStore, window: int | None = None) -> tuple[tuple[int, int], ...]:
    """Return who was the donor of a store's models and how often, as `most_popular`."""
    records = sorted(_all_records(store), key=lambda record: (record.created_ns, record.id))
    return most_popular([record.parent for record in records], window)


def most_popular(
    donors: Sequence[int | None], window: int | None = None
) -> tuple[tuple[int, int], ...]:
    """Return donors and how many models took from each, the most popular first, then by id.

    The measure for caching of "Understanding Patterns of Deep Learning Model Evolution in Network
    Architecture Search", HiPC 2023.

    Args:
        donors: of one model after the other; None has none.
        window: only the last so many models count; None: all.
    """
    taken = donors if window is None else donors[max(len(donors) - window, 0) :]
    counts = Counter(donor for donor in taken if donor is not None)
    return tuple(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def _all_records(store: LayerStore) -> Iterable[ModelRecord]:
    for shard in store.shards:
        for retired in (False, True):
            for model in shard.models(retired):
                yield shard.record(model)
