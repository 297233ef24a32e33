"""Random architectures that share prefixes, and their brute-force comparison."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from hypothesis import strategies as st

from bench_core.formats import TensorSpec
from bench_core.models.chains import BlockSpec
from bench_core.weight_transfer import ArchitectureGraph, Layer


def layer(kind: int, width: int = 4, flops: int = 0) -> Layer:
    """A layer of one of few kinds; kind 0 has no tensors."""
    tensors = (("weight", TensorSpec((kind, width), torch.float32)),) if kind else ()
    return Layer(BlockSpec.of("test.layer", variant=kind, width=width), tensors, flops)


@st.composite
def graphs(draw: st.DrawFn, most: int = 7) -> ArchitectureGraph:
    """Graphs over three kinds of layers, so that equal prefixes and twins are frequent."""
    size = draw(st.integers(1, most))
    layers, predecessors = [], []
    for position in range(size):
        layers.append(layer(draw(st.integers(0, 2)), flops=draw(st.integers(0, 3))))
        if position and draw(st.integers(0, 9)):
            before = draw(st.lists(st.integers(0, position - 1), min_size=1, max_size=2))
        else:
            before = []
        predecessors.append(tuple(before))
    return ArchitectureGraph(tuple(layers), tuple(predecessors))


@st.composite
def chains(draw: st.DrawFn, most: int = 7) -> ArchitectureGraph:
    """Chains over three kinds of layers."""
    kinds = draw(st.lists(st.integers(0, 2), min_size=1, max_size=most))
    before = tuple((position - 1,) if position else () for position in range(len(kinds)))
    return ArchitectureGraph(tuple(map(layer, kinds)), before)


def shuffled(graph: ArchitectureGraph, order: Sequence[int]) -> ArchitectureGraph:
    """The same graph with its layers in another topological order: ``order`` gives priorities."""
    left, placed = list(range(len(graph))), list[int]()
    while left:
        ready = [v for v in left if all(u in placed for u in graph.predecessors[v])]
        # Twins are told apart by their order, which is part of the architecture.
        ready = [v for v in ready if not any(_twins(graph, u, v) and u < v for u in left)]
        placed.append(min(ready, key=lambda v: (order[v], v)))
        left.remove(placed[-1])
    where = {v: position for position, v in enumerate(placed)}
    return ArchitectureGraph(
        tuple(graph.layers[v] for v in placed),
        tuple(tuple(where[u] for u in graph.predecessors[v]) for v in placed),
    )


def _twins(graph: ArchitectureGraph, a: int, b: int) -> bool:
    return (graph.layers[a].digest, graph.predecessors[a]) == (
        graph.layers[b].digest,
        graph.predecessors[b],
    )
