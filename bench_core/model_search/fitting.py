"""Which models take the data of a search, and why the others do not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bench_core.data import SearchData
from bench_core.errors import UnsupportedError
from bench_core.formats.atomic import one_line
from bench_core.model_search.errors import SearchError
from bench_core.models.chains import InputSpec, family
from bench_core.models.chains.resources import ItemShapes, chain_resources, input_shapes
from bench_core.snapshots import Snapshot

_NAMED: Final = 5
"""So many models are named in a refusal; a store may hold thousands."""


def fitting(
    snapshots: Sequence[Snapshot], data: SearchData
) -> tuple[list[Snapshot], dict[str, str]]:
    """Return the models that take the data, and for each other one by name why it does not."""
    given = InputSpec(data.train.kind, data.train.shape)
    shapes = input_shapes(data.train.kind, data.train.shape)
    tokens = [t for side in (data.train, data.test) if (t := side.largest_token) is not None]
    largest = max(tokens, default=None)
    misfits = {}
    for snapshot in snapshots:
        reason = _misfit(snapshot, given, shapes, largest)
        if reason is not None:
            misfits[snapshot.name] = reason
    return [snapshot for snapshot in snapshots if snapshot.name not in misfits], misfits


def check_fit(snapshots: Sequence[Snapshot], data: SearchData) -> None:
    """Refuse models that do not take the data.

    Raises:
        SearchError: the first of them are named, with the reason.
    """
    _, misfits = fitting(snapshots, data)
    if misfits:
        reasons = listed([f"{name} {reason}" for name, reason in misfits.items()])
        raise SearchError(
            f"{len(misfits)} of {len(snapshots)} models do not take the data: {reasons}; leave "
            "them out (skip_unusable), or prepare the data for them"
        )


def listed(models: Sequence[str]) -> str:
    """Return the first of what is said of some models, and how many more there are."""
    more = f"; and {len(models) - _NAMED} more" if len(models) > _NAMED else ""
    return "; ".join(models[:_NAMED]) + more


def _misfit(
    snapshot: Snapshot, given: InputSpec, shapes: ItemShapes, largest_token: int | None
) -> str | None:
    if not snapshot.input.accepts(given):
        return f"takes {_described(snapshot.input)}, but the data are {_described(given)}"
    specs = [block.spec for block in snapshot.blocks]
    vocabulary = family(specs[0].family).vocabulary(specs[0])
    if vocabulary is not None and largest_token is not None and largest_token >= vocabulary:
        return f"takes token ids below {vocabulary}, but the data have ids up to {largest_token}"
    try:
        chain_resources(specs, shapes)
    # What torch raises where an item is too small for a kernel is a RuntimeError.
    except (UnsupportedError, RuntimeError) as error:
        return f"cannot take {_described(given)}: {one_line(error)}"
    return None


def _described(spec: InputSpec) -> str:
    sizes = " x ".join("any" if size is None else str(size) for size in spec.shape)
    return f"{spec.kind} of {sizes}"
