"""ATTN: two inputs, a stack of dense layers with skips over each, one over both together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from bench_core.weight_transfer.layers import concat, dense, input_layer
from bench_core.weight_transfer.spaces.base import Position, SearchSpace, check_positive
from bench_core.weight_transfer.spaces.builder import GraphBuilder
from bench_core.weight_transfer.spaces.skip_stack import SkipStack


@dataclass(frozen=True)
class Attn(SearchSpace):
    """Stacks of 3 stages with 391 choices of a dense layer, as published.

    A stack over each input, whose outputs are concatenated, a stack over that, and a dense layer
    without activation for the outputs. So a change within one input's stack leaves the other's.

    Raises:
        SpaceError: a setting is no positive integer.
    """

    name: ClassVar[str] = "attn"

    inputs: tuple[int, ...] = (32, 32)
    """The width of each input; two as published, but any number is built."""
    outputs: int = 10
    layers: int = 3
    """Number of stages of each stack."""
    widths: tuple[int, ...] = tuple(range(50, 1976, 25))

    def __post_init__(self) -> None:
        check_positive(self.name, **self.settings)

    def _positions(self) -> Iterable[Position]:
        found: list[Position] = []
        joined: list[int] = []
        for _ in self.inputs:
            stack, ends = self._stack.positions(len(found), ())
            found += stack
            joined += ends
        return found + self._stack.positions(len(found), tuple(joined))[0]

    def _build(self, arch: list[int], builder: GraphBuilder) -> None:
        size = len(self._stack)
        sources = [builder.add(input_layer((width,))) for width in self.inputs]
        ends = [
            self._stack.build(builder, arch[index * size : (index + 1) * size], source)
            for index, source in enumerate(sources)
        ]
        joined = builder.add(concat([builder.shape(end) for end in ends]), *ends)
        last = self._stack.build(builder, arch[len(ends) * size :], joined)
        builder.add(dense(builder.shape(last), self.outputs), last)

    @property
    def _stack(self) -> SkipStack:
        return SkipStack(self.layers, self.widths)


@dataclass(frozen=True)
class AttnLarge(Attn):
    """ATTN with the published large widths: 151 choices of a dense layer."""

    name: ClassVar[str] = "attn-large"

    widths: tuple[int, ...] = tuple(range(2000, 3451, 50))
