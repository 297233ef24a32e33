"""Successive halving: which items each round adds, and how many models it leaves.

Jamieson and Talwalkar, "Non-stochastic Best Arm Identification", AISTATS 2016; ranges as in
Strassenburg et al., "Alsatian", SIGMOD 2025, section 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bench_core.model_search.errors import SearchError

_FEWEST: Final = 2
"""Items of the first round: no proxy score says anything of items of one class."""


@dataclass(frozen=True)
class Halving:
    """How a search narrows its models down."""

    factor: int = 2
    """Each round keeps ``floor(models / factor)``, the winners at least."""
    winners: int = 1
    """The search ends when no more models than these are left to be told apart."""
    last_round: bool = False
    """Whether to go on, as published, until all training items are used, although the rounds in
    which no model can drop out any more decide nothing."""

    def __post_init__(self) -> None:
        if self.factor < 2:
            raise SearchError(f"halving by a factor of {self.factor}, at least 2 expected")
        if self.winners < 1:
            raise SearchError(f"{self.winners} winners, at least 1 expected")


@dataclass(frozen=True)
class Round:
    """One round: its models are scored by all training items from 0 to ``stop``."""

    index: int
    start: int
    """First training item that this round adds."""
    stop: int
    n_models: int
    """How many models are scored."""
    keep: int
    """How many of them go on."""


def plan_rounds(n_models: int, n_train: int, halving: Halving | None) -> list[Round]:
    """Return the rounds of a search; one round of all items where there is nothing to halve.

    With factor 2 there are ``ceil(log2(n_models))`` ranges of ``k, 2k, 4k, …`` items, where ``k``
    is ``ceil(n_train / 2 ** ranges)``; the last one takes what remains.

    Raises:
        SearchError: no models, no items, or fewer items than the rounds need.
    """
    if n_models < 1 or n_train < 1:
        raise SearchError(f"{n_models} models and {n_train} training items, at least 1 of each")
    if halving is None or n_models <= halving.winners:
        return [Round(0, 0, n_train, n_models, n_models)]
    ranges = _ranges(n_models, n_train, halving)
    rounds: list[Round] = []
    live = n_models
    for index, (start, stop) in enumerate(ranges):
        keep = max(halving.winners, live // halving.factor)
        rounds.append(Round(index, start, stop, live, keep))
        live = keep
        if live <= halving.winners and not halving.last_round:
            break
    return rounds


def least_items(n_models: int, halving: Halving, first_round: int) -> int:
    """Return the fewest training items with which the first round has so many, 2 or more.

    Then every later round adds at least one.
    """
    if n_models <= max(halving.winners, halving.factor):
        return first_round
    ranges: int = halving.factor ** _rounds_needed(n_models, halving.factor)
    # The first range is a part of all items, rounded up: the least that rounds up to this.
    return (first_round - 1) * ranges // (halving.factor - 1) + 1


def _ranges(n_models: int, n_train: int, halving: Halving) -> list[tuple[int, int]]:
    """Return the training items that each round adds."""
    factor = halving.factor
    count = _rounds_needed(n_models, factor)
    least = least_items(n_models, halving, _FEWEST)
    if n_train < least:
        raise SearchError(
            f"{n_train} training items are too few to halve {n_models} models in {count} rounds, "
            f"the first with {_FEWEST} items or more; give at least {least}, or search without "
            "halving"
        )
    size = -(-n_train * (factor - 1) // factor**count)
    ranges, start = [], 0
    for _ in range(count):
        ranges.append((start, start + size))
        start += size
        size *= factor
    return [*ranges[:-1], (ranges[-1][0], n_train)]


def _rounds_needed(n_models: int, factor: int) -> int:
    """Return the least number of rounds with ``factor ** rounds >= n_models``, in whole numbers."""
    count = 1
    while factor**count < n_models:
        count += 1
    return count
