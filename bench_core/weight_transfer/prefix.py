"""The longest common prefix of two architectures, by walking the graphs and by comparing names.

Layer ``v`` of a child belongs to the prefix it has in common with a parent if the parent has an
equal layer that takes the outputs of the same layers in the same order, and these belong to the
prefix themselves. With names that are Merkle digests that is the intersection of two sets of names
(Madhyastha et al., "DStore", ICS 2023; Underwood et al., "EvoStore", HPDC 2024).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, get_args

from bench_core.errors import UnknownNameError, nearest
from bench_core.weight_transfer.graphs import ArchitectureGraph, Layer

Measure = Literal["layers", "bytes", "flops"]
"""By what the longest prefix is the longest. EvoStore counts layers."""
MEASURES: Final[tuple[Measure, ...]] = get_args(Measure)


def by_frontier(parent: ArchitectureGraph, child: ArchitectureGraph) -> tuple[int, ...]:
    """Return the child's layers that are in the common prefix, by walking both graphs at once.

    Compares layers, never names. Time and memory are linear in layers and connections.
    """
    places = {
        (layer.digest, before, twin): position
        for position, (layer, before, twin) in enumerate(
            zip(parent.layers, parent.predecessors, parent.twins, strict=True)
        )
    }
    same: dict[int, int] = {}  # the child's position -> the parent's
    reached: Counter[int] = Counter()
    frontier = deque(v for v, before in enumerate(child.predecessors) if not before)
    while frontier:
        v = frontier.popleft()
        before = tuple(same[u] for u in child.predecessors[v])
        place = places.get((child.layers[v].digest, before, child.twins[v]))
        if place is None:
            continue
        same[v] = place
        for w in child.successors[v]:
            reached[w] += 1
            if reached[w] == len(set(child.predecessors[w])):
                frontier.append(w)
    return tuple(sorted(same))


def by_intersection(parent: ArchitectureGraph, child: ArchitectureGraph) -> tuple[int, ...]:
    """Return the same as `by_frontier`: the child's layers whose names the parent has."""
    return tuple(v for v, name in enumerate(child.names) if name in parent.position)


def weight(layer: Layer, measure: Measure) -> int:
    """Return what a layer counts under a measure: 1, its bytes, or its FLOPs.

    Raises:
        UnknownNameError: there is no such measure.
    """
    if measure == "layers":
        return 1
    if measure == "bytes":
        return layer.nbytes
    if measure == "flops":
        return layer.flops
    raise UnknownNameError(
        f"no measure {measure!r}, expected one of {', '.join(MEASURES)}{nearest(measure, MEASURES)}"
    )


@dataclass(frozen=True)
class Match:
    """The model that a new architecture has most in common with."""

    donor: int
    """Its id."""
    positions: tuple[int, ...]
    """The new architecture's layers that it has."""
    score: int
    """Sum of what these count under the measure."""


def coverage(donors: Iterable[ArchitectureGraph], child: ArchitectureGraph) -> tuple[int, ...]:
    """Return the child's layers that any of the donors has: at least as many as one donor has.

    On chains no more than the best donor has.
    """
    names: set[bytes] = set()
    for donor in donors:
        names.update(donor.names)
    return tuple(v for v, name in enumerate(child.names) if name in names)
