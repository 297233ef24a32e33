"""DenseSkipCo: dense layers with skips, for tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from bench_core.weight_transfer.layers import dense, input_layer
from bench_core.weight_transfer.spaces.base import Position, SearchSpace, check_positive
from bench_core.weight_transfer.spaces.builder import GraphBuilder
from bench_core.weight_transfer.spaces.skip_stack import SkipStack


@dataclass(frozen=True)
class DenseSkip(SearchSpace):
    """One stack of stages, and a dense layer without activation for the outputs.

    With the published 10 stages 37 decisions, 31^10 * 2^27 sequences.

    Raises:
        SpaceError: a setting is no positive integer.
    """

    name: ClassVar[str] = "dense-skip"

    inputs: int = 64
    outputs: int = 10
    layers: int = 10
    """Number of stages."""
    widths: tuple[int, ...] = (16, 32, 48, 64, 80, 96)

    def __post_init__(self) -> None:
        check_positive(self.name, **self.settings)

    def _positions(self) -> Iterable[Position]:
        return self._stack.positions(0, ())[0]

    def _build(self, arch: list[int], builder: GraphBuilder) -> None:
        source = builder.add(input_layer((self.inputs,)))
        last = self._stack.build(builder, arch, source)
        builder.add(dense(builder.shape(last), self.outputs), last)

    @property
    def _stack(self) -> SkipStack:
        return SkipStack(self.layers, self.widths)
