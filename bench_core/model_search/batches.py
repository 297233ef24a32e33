"""The batches of a search: the same borders for every engine, budget and number of workers.

A forward pass gives the same bits only for the same batch, so batches are decided here, once, by
split and round; an engine that works in chunks takes whole batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from bench_core.model_search.halving import Round

Split = Literal["test", "train"]


@dataclass(frozen=True, order=True)
class Batch:
    """Some neighbouring items of one split."""

    split: Split
    start: int
    stop: int

    def __len__(self) -> int:
        """Return the number of items."""
        return self.stop - self.start

    @property
    def indices(self) -> npt.NDArray[np.int64]:
        """The items' positions in the data set."""
        return np.arange(self.start, self.stop)


@dataclass(frozen=True)
class LaterRound:
    """What a round to come adds, whichever models are still in the search by then."""

    n_models: int
    """How many there will be."""
    batches: tuple[Batch, ...]


def cut(split: Split, start: int, stop: int, size: int) -> list[Batch]:
    """Return the batches of a range, all of ``size`` but the last."""
    return [Batch(split, first, min(first + size, stop)) for first in range(start, stop, size)]


def batches_of(round_: Round, n_test: int, size: int) -> list[Batch]:
    """Return what a round adds: its training items, and in the first round all test items."""
    test = cut("test", 0, n_test, size) if round_.index == 0 else []
    return test + cut("train", round_.start, round_.stop, size)


def of_split(batches: Sequence[Batch], split: Split) -> list[Batch]:
    """Return the batches of one split, in order."""
    return [batch for batch in batches if batch.split == split]
