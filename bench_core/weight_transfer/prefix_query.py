"""What a search for the longest common prefix asks and answers, as little as can travel."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from bench_core.errors import CorruptFileError
from bench_core.weight_transfer.graphs import NAME_BYTES, ArchitectureGraph, Name, split_names
from bench_core.weight_transfer.prefix import Match, Measure, weight
from bench_core.weight_transfer.records import LARGEST_ID

_LAYER_BYTES: Final = NAME_BYTES + 8 + 1
"""Of a query: name, weight, and whether it is whole."""

_RANK: Final = struct.Struct(">?QQQ")
"""Whether there is a donor, score, accuracy, id: each so that the preferred one is larger."""
_SIGN: Final = 1 << 63
_ALL: Final = (1 << 64) - 1


@dataclass(frozen=True)
class PrefixQuery:
    """A new architecture as `PrefixIndex` looks at it."""

    names: tuple[Name, ...]
    """Of its layers, in order."""
    weights: tuple[int, ...]
    """What each counts under the measure."""
    cones: tuple[int, ...]
    """As the graph's; of a query that travelled 0 where not all layers before it are in it."""

    @classmethod
    def of(cls, graph: ArchitectureGraph, measure: Measure) -> PrefixQuery:
        """Return the question for an architecture.

        Raises:
            UnknownNameError: there is no such measure.
        """
        if measure == "layers":
            weights: tuple[int, ...] = (1,) * len(graph)
        else:
            weights = tuple([weight(layer, measure) for layer in graph.layers])
        return cls(graph.names, weights, graph.cones)

    def is_whole(self, v: int) -> bool:
        """Whether all layers before layer ``v`` feed it: whoever has it has all of them."""
        return self.cones[v] == (2 << v) - 1

    def encode(self) -> bytes:
        """Return what `decode` reads: 25 bytes a layer, where a pickled graph takes hundreds."""
        weights = struct.pack(f"<{len(self.weights)}q", *self.weights)
        return b"".join((*self.names, weights, bytes(map(self.is_whole, range(len(self.names))))))

    @classmethod
    def decode(cls, data: bytes) -> PrefixQuery:
        """Return the query that was encoded.

        Raises:
            CorruptFileError: its length is none of a query.
        """
        count, rest = divmod(len(data), _LAYER_BYTES)
        if rest:
            raise CorruptFileError(
                f"a query of {len(data)} bytes, expected {_LAYER_BYTES} for each layer"
            )
        end = count * NAME_BYTES
        weights = struct.unpack_from(f"<{count}q", data, end)
        return cls(
            split_names(data[:end]),
            weights,
            tuple([(2 << v) - 1 if data[v - count] else 0 for v in range(count)]),
        )


@dataclass(frozen=True)
class RankedMatch:
    """The best donor of some models, comparable with the best of others."""

    match: Match
    accuracy: float
    """Of the donor; minus infinity where it is unknown."""

    @property
    def rank(self) -> tuple[int, float, int]:
        """Higher is preferred: the longer prefix, the more accurate, the smaller id."""
        return self.match.score, self.accuracy, -self.match.donor

    def encode(self, n_layers: int) -> bytes:
        """Return what `decode_answer` reads: of two answers the preferred one is larger.

        So a reduction over many can compare bytes, and need not know what they mean.
        """
        positions = sum(1 << position for position in self.match.positions)
        rank = self.match.score, _in_order(self.accuracy), LARGEST_ID - self.match.donor
        return _RANK.pack(True, *rank) + positions.to_bytes(_bytes_for(n_layers), "little")


def no_answer(n_layers: int) -> bytes:
    """Return the answer that there is no donor: smaller than all others."""
    return bytes(_RANK.size + _bytes_for(n_layers))


def decode_answer(data: bytes) -> RankedMatch | None:
    """Return the answer that was encoded."""
    is_there, score, accuracy, donor = _RANK.unpack_from(data)
    if not is_there:
        return None
    bits = int.from_bytes(data[_RANK.size :], "little")
    positions = tuple(v for v in range(bits.bit_length()) if bits >> v & 1)
    return RankedMatch(Match(LARGEST_ID - donor, positions, score), _out_of_order(accuracy))


def best_of(answers: Iterable[RankedMatch | None]) -> RankedMatch | None:
    """Return the preferred answer, in whatever order they come; None where none has a donor."""
    return max(
        (answer for answer in answers if answer is not None),
        key=lambda answer: answer.rank,
        default=None,
    )


def _bytes_for(n_layers: int) -> int:
    return -(-n_layers // 8)


def _in_order(number: float) -> int:
    """Return 64 bits that are larger for a larger number."""
    bits: int = struct.unpack(">Q", struct.pack(">d", number + 0.0))[0]  # no minus zero
    return bits ^ (_ALL if bits & _SIGN else _SIGN)


def _out_of_order(bits: int) -> float:
    bits ^= _SIGN if bits & _SIGN else _ALL
    number: float = struct.unpack(">d", struct.pack(">Q", bits))[0]
    return number
