"""FeedForward: dense layers in a row, each of which may be left out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from bench_core.weight_transfer.layers import dense, input_layer
from bench_core.weight_transfer.spaces.base import Position, SearchSpace, chain, check_positive
from bench_core.weight_transfer.spaces.builder import GraphBuilder


@dataclass(frozen=True)
class FeedForward(SearchSpace):
    """Ten nodes as published; choice 0 of a node is no layer, the others are widths with ReLU.

    The widths are chosen here: multiples of 16, ten as published.

    Raises:
        SpaceError: a setting is no positive integer.
    """

    name: ClassVar[str] = "feed-forward"

    inputs: int = 64
    outputs: int = 10
    layers: int = 10
    widths: tuple[int, ...] = tuple(range(16, 161, 16))

    def __post_init__(self) -> None:
        check_positive(self.name, **self.settings)

    def _positions(self) -> Iterable[Position]:
        return chain([1 + len(self.widths)] * self.layers)

    def _build(self, arch: list[int], builder: GraphBuilder) -> None:
        last = builder.add(input_layer((self.inputs,)))
        for choice in arch:
            if choice:
                layer = dense(builder.shape(last), self.widths[choice - 1], "relu")
                last = builder.add(layer, last)
        builder.add(dense(builder.shape(last), self.outputs), last)
