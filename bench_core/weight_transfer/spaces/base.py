"""What every search space can do: draw sequences of choices, check them, build them."""

from __future__ import annotations

import dataclasses
import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from bench_core.weight_transfer.errors import SpaceError
from bench_core.weight_transfer.graphs import ArchitectureGraph
from bench_core.weight_transfer.spaces.builder import GraphBuilder

Archs = npt.NDArray[np.uint16]
"""Sequences of choices, one a row: shape (n, L)."""

MOST_CHOICES: Final = 1 << 16
"""Of one position: they are held in 16 bits."""


@dataclass(frozen=True)
class Position:
    """One decision of a search space."""

    choices: int
    """How many there are; the decision is a number from 0 to one less."""
    after: tuple[int, ...] = ()
    """Earlier positions whose layers feed the layers of this one, directly."""


@dataclass(frozen=True)
class SearchSpace(ABC):
    """Architectures that differ in a fixed number of decisions.

    A subclass is a frozen dataclass whose fields are its settings: numbers and tuples of numbers,
    so that a space can be stored by its name and settings and is the same in another process.
    """

    name: ClassVar[str]

    @abstractmethod
    def _positions(self) -> Iterable[Position]:
        """Return the decisions in the order of the sequence."""

    @abstractmethod
    def _build(self, arch: list[int], builder: GraphBuilder) -> None:
        """Add the layers of a checked sequence to an empty graph."""

    @functools.cached_property
    def positions(self) -> tuple[Position, ...]:
        """The decisions, each after those that it follows in the network.

        Raises:
            SpaceError: one of them has no choice, or more than `MOST_CHOICES`.
        """
        positions = tuple(self._positions())
        for number, position in enumerate(positions):
            if not 1 <= position.choices <= MOST_CHOICES:
                raise SpaceError(
                    f"{self.name}: {position.choices} choices at position {number}, expected 1 to "
                    f"{MOST_CHOICES}"
                )
        return positions

    @functools.cached_property
    def choices(self) -> tuple[int, ...]:
        """The number of choices of each position; raises what `positions` raises."""
        return tuple(position.choices for position in self.positions)

    @property
    def size(self) -> int:
        """How many sequences there are."""
        return math.prod(self.choices)

    @functools.cached_property
    def descendants(self) -> tuple[frozenset[int], ...]:
        """For each position the later ones that a change of it reaches, over any way."""
        reached: list[set[int]] = [set() for _ in self.positions]
        for later in reversed(range(len(self.positions))):
            for earlier in self.positions[later].after:
                reached[earlier] |= {later, *reached[later]}
        return tuple(map(frozenset, reached))

    @functools.cached_property
    def depends(self) -> tuple[int, ...]:
        """For each position how many others a change of it invalidates."""
        return tuple(map(len, self.descendants))

    @property
    def settings(self) -> Mapping[str, Any]:
        """What `spaces.get` needs, beside the name, to return an equal space."""
        return dataclasses.asdict(self)

    def random(self, n: int, rng: np.random.Generator) -> Archs:
        """Draw ``n`` sequences, each with the same probability; shape (n, L).

        Raises:
            SpaceError: ``n`` is negative, or a position has more choices than can be held.
        """
        if n < 0:
            raise SpaceError(f"{self.name}: {n} architectures asked for, expected 0 or more")
        # Column by column: one bound at a time is several times faster than an array of bounds.
        archs = np.empty((len(self.choices), n), dtype=np.uint16)
        for column, choices in zip(archs, self.choices, strict=True):
            column[:] = rng.integers(choices, size=n, dtype=np.uint16)
        return np.ascontiguousarray(archs.T)

    def check(self, archs: npt.ArrayLike) -> Archs:
        """Return rows of choices, shape (n, L), as they are held here.

        Raises:
            SpaceError: no such rows, or a choice that its position does not have.
        """
        rows = np.asarray(archs)
        length = len(self.choices)
        if rows.ndim != 2 or rows.shape[1] != length or rows.dtype.kind not in "iu":
            raise SpaceError(
                f"{self.name}: {rows.dtype} of shape {rows.shape}, expected integers of shape "
                f"(n, {length}), a row of {length} choices for each architecture"
            )
        wrong = (rows < 0) | (rows >= np.asarray(self.choices))
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise SpaceError(
                f"{self.name}: choice {rows[row, column]} at position {column}, expected 0 to "
                f"{self.choices[column] - 1}"
            )
        return rows.astype(np.uint16, copy=False)

    def build(self, arch: Sequence[int] | npt.NDArray[np.integer[Any]]) -> ArchitectureGraph:
        """Return the layers that a sequence of choices stands for, and their connections.

        Raises:
            SpaceError: the sequence has another length, or a choice that its position lacks.
        """
        sequence = np.asarray(arch)
        if sequence.ndim != 1:
            raise SpaceError(
                f"{self.name}: choices of shape {sequence.shape}, expected one row of "
                f"{len(self.choices)}"
            )
        builder = GraphBuilder()
        self._build(self.check(sequence[None])[0].tolist(), builder)
        return builder.graph()


def chain(choices: Iterable[int]) -> Iterable[Position]:
    """Yield positions that follow one upon the other."""
    for index, count in enumerate(choices):
        yield Position(count, (index - 1,) if index else ())


def check_positive(space: str, **values: int | Sequence[int]) -> None:
    """Refuse settings that are not positive integers, or no integers at all.

    Raises:
        SpaceError: names the setting and what it was.
    """
    for setting, value in values.items():
        numbers = value if isinstance(value, tuple) else (value,)
        if not numbers or not all(type(number) is int and number > 0 for number in numbers):
            raise SpaceError(f"{space}: {setting} is {value!r}, expected positive integers")
