"""Stages of a dense layer and binary skips over the previous outputs, part of several spaces."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from bench_core.weight_transfer.layers import activation, add, dense
from bench_core.weight_transfer.spaces.base import Position
from bench_core.weight_transfer.spaces.builder import GraphBuilder

ACTIVATIONS: Final = ("linear", "relu", "silu", "tanh", "sigmoid")


@dataclass(frozen=True)
class SkipStack:
    """Stages in a row. Choice 0 of a dense layer is none: the stage's input goes on as it is.

    After each dense layer stand binary choices, one for each of the outputs of the previous
    stages within ``reach``, the stack's input among them. Those chosen are brought to the width
    by a linear dense layer where they have another one, are added, and a ReLU follows. The skip
    factory of DeepHyper, which EvoStore (HPDC 2024) and DStore (ICS 2023) searched with.

    As a position a skip comes after the output that it starts from. The width it is brought to is
    its own stage's, so another dense layer changes the projections of its stage too; that is not
    counted, as it depends on the choices made.
    """

    stages: int
    widths: tuple[int, ...]
    reach: int = 3

    @property
    def dense_choices(self) -> int:
        """No layer, or one of the widths with one of the activations."""
        return 1 + len(self.widths) * len(ACTIVATIONS)

    def __len__(self) -> int:
        """Return the number of positions."""
        return sum(1 + skips for skips in self._skips())

    def positions(
        self, first: int, source: tuple[int, ...]
    ) -> tuple[list[Position], tuple[int, ...]]:
        """Return the decisions, and the positions that the stack's output comes directly from.

        Args:
            first: the position of the first decision.
            source: the positions that the stack's input comes directly from.
        """
        found: list[Position] = []
        outputs = deque([source], maxlen=self.reach)
        for _ in range(self.stages):
            output = first + len(found)
            stage = [Position(self.dense_choices, outputs[-1])]
            stage += [Position(2, anchor) for anchor in outputs]
            found += stage
            outputs.append(tuple(range(output, output + len(stage))))
        return found, outputs[-1]

    def build(self, builder: GraphBuilder, choices: Sequence[int], source: int) -> int:
        """Add the layers for the stack's choices after the layer ``source``; return the last."""
        left = iter(choices)
        outputs = deque([source], maxlen=self.reach)
        for _ in range(self.stages):
            output = self._dense(builder, next(left), outputs[-1])
            chosen = [anchor for anchor in outputs if next(left)]
            outputs.append(_merged(builder, output, chosen))
        return outputs[-1]

    def _skips(self) -> Iterator[int]:
        return (min(stage, self.reach) for stage in range(1, self.stages + 1))

    def _dense(self, builder: GraphBuilder, choice: int, source: int) -> int:
        if not choice:
            return source
        width, name = divmod(choice - 1, len(ACTIVATIONS))
        layer = dense(builder.shape(source), self.widths[width], ACTIVATIONS[name])
        return builder.add(layer, source)


def _merged(builder: GraphBuilder, output: int, anchors: list[int]) -> int:
    if not anchors:
        return output
    shape = builder.shape(output)
    terms = [output]
    for anchor in anchors:
        if builder.shape(anchor) != shape:
            anchor = builder.add(dense(builder.shape(anchor), shape[0]), anchor)
        terms.append(anchor)
    total = builder.add(add(shape, len(terms)), *terms)
    return builder.add(activation(shape, "relu"), total)
