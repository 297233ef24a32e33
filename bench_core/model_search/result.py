"""What a search found: the ranking, the table of its rounds, the work it took."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from bench_core.model_search.meter import Work


@dataclass(frozen=True)
class Scored:
    """A model's proxy score in one round."""

    model: int
    """Its position among the models that were given."""
    name: str
    score: float
    """Higher is better; minus infinity where the features allowed none."""
    loss: float | None
    note: str = ""
    """Why there is no score."""

    @property
    def rank_key(self) -> tuple[float, float, str]:
        """Sorts the best first: by score, then by loss, then by name."""
        return (-self.score, self.loss if self.loss is not None else 0.0, self.name)


@dataclass(frozen=True)
class RoundResult:
    """The scores of one round, the best first."""

    index: int
    start: int
    """First training item that this round added; the scores use all from 0 to ``stop``."""
    stop: int
    scores: tuple[Scored, ...]


@dataclass(frozen=True)
class Ranked:
    """A model's place in the whole search."""

    rank: int
    name: str
    round: int
    """The last round in which it was scored; -1 for a model that could not be used."""
    score: float | None
    loss: float | None
    note: str = ""
    """Why it has no score, or could not be used."""


@dataclass(frozen=True)
class SearchResult:
    """All that a search found."""

    ranking: tuple[Ranked, ...]
    """The best first: by the last round that a model reached, then by its score there."""
    rounds: tuple[RoundResult, ...]
    work: Work
    seconds: float
    """From the first round to the ranking; what was made before (`Engine.prepare`) is left out."""
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def best(self) -> str:
        """Name of the winner."""
        return self.ranking[0].name

    @property
    def table(self) -> list[tuple[int, str, float, float | None]]:
        """All (round, model, score, loss), in an order that does not depend on the engine."""
        rows = [
            (round_.index, item.name, item.score, item.loss)
            for round_ in self.rounds
            for item in round_.scores
        ]
        return sorted(rows, key=lambda row: row[:2])

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain data; None for a score or loss that is no finite number."""
        content: dict[str, Any] = _finite(asdict(self))
        return content


def _finite(value: Any) -> Any:
    """Return plain data that JSON can hold."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def ranking(rounds: tuple[RoundResult, ...], unusable: Mapping[str, str]) -> tuple[Ranked, ...]:
    """Rank all models of a search.

    Args:
        rounds: in order.
        unusable: models that were left out, with the reason; they come last.
    """
    placed: dict[str, Ranked] = {}
    for round_ in reversed(rounds):
        for item in round_.scores:
            if item.name not in placed and item.name not in unusable:
                rank = len(placed) + 1
                placed[item.name] = Ranked(
                    rank, item.name, round_.index, item.score, item.loss, item.note
                )
    for name, reason in sorted(unusable.items()):
        placed[name] = Ranked(len(placed) + 1, name, -1, None, None, reason)
    return tuple(placed.values())
