"""NT3: convolutions over a gene expression profile, then dense layers, all in a row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Final

from bench_core.weight_transfer.errors import SpaceError
from bench_core.weight_transfer.layers import (
    activation,
    conv1d,
    dense,
    dropout,
    flatten,
    input_layer,
    max_pool1d,
)
from bench_core.weight_transfer.spaces.base import Position, SearchSpace, chain, check_positive
from bench_core.weight_transfer.spaces.builder import GraphBuilder

ACTIVATIONS: Final = ("relu", "tanh")
DROPOUT_RATES: Final = (0.05, 0.1, 0.2, 0.3, 0.4)


@dataclass(frozen=True)
class Nt3Small(SearchSpace):
    """A convolution, a pool, and twice a dense layer, an activation and a dropout.

    The numbers of choices are the published ones: 4 filters x 2 kernels x 2 activations, 26 pools,
    3 widths, 2 activations, 5 rates, 5 widths, 2 activations, 5 rates. What is chosen from lies
    around the CANDLE benchmark's NT3 (128 filters of 20, dense 200 and 20, dropout 0.1).

    Raises:
        SpaceError: a setting is no positive integer, or the input is too short for the largest
            kernels and pools.
    """

    name: ClassVar[str] = "nt3-small"

    inputs: int = 60_483
    """Length of the profile, one channel."""
    outputs: int = 2
    filters: tuple[int, ...] = (32, 64, 96, 128)
    kernels: tuple[int, ...] = (10, 20)
    pools: tuple[int, ...] = tuple(range(5, 31))
    widths: tuple[int, ...] = (100, 200, 300)
    last_widths: tuple[int, ...] = (10, 20, 30, 40, 50)

    def __post_init__(self) -> None:
        check_positive(self.name, **self.settings)
        if self._shortest() < 1:
            raise SpaceError(
                f"{self.name}: inputs is {self.inputs}, too short for the largest kernels and "
                "pools; give a longer input or smaller ones"
            )

    def _shortest(self) -> int:
        """Return the length that the largest kernel and pool leave."""
        return (self.inputs - max(self.kernels) + 1) // max(self.pools)

    def _positions(self) -> Iterable[Position]:
        return chain((*self._convolution_choices(), *self._dense_choices()))

    def _convolution_choices(self) -> tuple[int, ...]:
        return (len(self.filters) * len(self.kernels) * len(ACTIVATIONS), len(self.pools))

    def _dense_choices(self) -> tuple[int, ...]:
        after = (len(ACTIVATIONS), len(DROPOUT_RATES))
        return (len(self.widths), *after, len(self.last_widths), *after)

    def _build(self, arch: list[int], builder: GraphBuilder) -> None:
        left = iter(arch)
        last = builder.add(input_layer((1, self.inputs)))
        last = self._convolutions(builder, left, last)
        last = builder.add(flatten(builder.shape(last)), last)
        for widths in (self.widths, self.last_widths):
            last = builder.add(dense(builder.shape(last), widths[next(left)]), last)
            last = builder.add(activation(builder.shape(last), ACTIVATIONS[next(left)]), last)
            last = builder.add(dropout(builder.shape(last), DROPOUT_RATES[next(left)]), last)
        builder.add(dense(builder.shape(last), self.outputs), last)

    def _convolutions(self, builder: GraphBuilder, left: Iterator[int], last: int) -> int:
        choice, pool = next(left), next(left)
        rest, function = divmod(choice, len(ACTIVATIONS))
        filters, kernel = divmod(rest, len(self.kernels))
        return _convolution(
            builder,
            last,
            self.filters[filters],
            self.kernels[kernel],
            ACTIVATIONS[function],
            self.pools[pool],
        )


@dataclass(frozen=True)
class Nt3Large(Nt3Small):
    """NT3 small with a second convolution (3 kernels x 3 filters, as published) and pool."""

    name: ClassVar[str] = "nt3-large"

    second_filters: tuple[int, ...] = (48, 56, 60)
    second_kernels: tuple[int, ...] = (15, 20, 25)

    def _shortest(self) -> int:
        return (super()._shortest() - max(self.second_kernels) + 1) // max(self.pools)

    def _convolution_choices(self) -> tuple[int, ...]:
        second = len(self.second_filters) * len(self.second_kernels)
        return (*super()._convolution_choices(), second, len(self.pools))

    def _convolutions(self, builder: GraphBuilder, left: Iterator[int], last: int) -> int:
        last = super()._convolutions(builder, left, last)
        choice, pool = next(left), next(left)
        kernel, filters = divmod(choice, len(self.second_filters))
        return _convolution(
            builder,
            last,
            self.second_filters[filters],
            self.second_kernels[kernel],
            ACTIVATIONS[0],
            self.pools[pool],
        )


def _convolution(
    builder: GraphBuilder, last: int, filters: int, kernel: int, function: str, pool: int
) -> int:
    layer = conv1d(builder.shape(last), filters, kernel, activation=function)
    last = builder.add(layer, last)
    return builder.add(max_pool1d(builder.shape(last), pool), last)
