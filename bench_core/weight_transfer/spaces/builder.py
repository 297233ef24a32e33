"""Graphs that grow layer by layer."""

from __future__ import annotations

from bench_core.weight_transfer.graphs import ArchitectureGraph, Layer
from bench_core.weight_transfer.layers import out_shape


class GraphBuilder:
    """Collects layers and connections; each layer after those whose output it takes."""

    def __init__(self) -> None:
        self._layers: list[Layer] = []
        self._predecessors: list[tuple[int, ...]] = []

    def add(self, layer: Layer, *before: int) -> int:
        """Add a layer that takes the outputs of the layers ``before``; return its position."""
        self._layers.append(layer)
        self._predecessors.append(before)
        return len(self._layers) - 1

    def shape(self, position: int) -> tuple[int, ...]:
        """Return the shape of the output of a layer, per item."""
        return out_shape(self._layers[position])

    def graph(self) -> ArchitectureGraph:
        """Return the graph of the layers added so far."""
        return ArchitectureGraph(tuple(self._layers), tuple(self._predecessors))
