"""Which items of a data set take part, and in which order: seeded, stratified, stable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from bench_core.data.dataset import Dataset, Labels, SearchData
from bench_core.data.errors import DataError

Order = Literal["balanced", "shuffled", "stored"]

ALL: Final = -1
"""As a number of items: all there are."""


@dataclass(frozen=True)
class Subset:
    """How many items of each side, and their order.

    The first n items of a larger subset are the subset of n items.
    """

    num_train_items: int = ALL
    num_test_items: int = ALL
    order: Order = "balanced"
    """``balanced``: see `balanced_order`. ``shuffled``: all items shuffled, as published.
    ``stored``: as they come, which suits data that is in a good order already."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("num_train_items", "num_test_items"):
            count = getattr(self, name)
            if count < 1 and count != ALL:
                raise DataError(f"{name} is {count}, expected 1 or more, or {ALL} for all")
        if self.order not in ("balanced", "shuffled", "stored"):
            raise DataError(f"order {self.order!r}, expected balanced, shuffled or stored")

    def train(self, labels: Labels) -> npt.NDArray[np.int64]:
        """Return the positions of the training items.

        Raises:
            DataError: there are fewer than asked for.
        """
        return self._first(labels, self.num_train_items, "training")

    def test(self, labels: Labels) -> npt.NDArray[np.int64]:
        """Return the positions of the test items.

        Raises:
            DataError: there are fewer than asked for.
        """
        return self._first(labels, self.num_test_items, "test")

    def of(self, train: Dataset, test: Dataset) -> SearchData:
        """Return the chosen items of both sides.

        Raises:
            DataError: there are fewer than asked for.
        """
        return SearchData(
            train.select(self.train(train.labels)), test.select(self.test(test.labels))
        )

    def _first(self, labels: Labels, count: int, side: str) -> npt.NDArray[np.int64]:
        if count > len(labels):
            raise DataError(
                f"{count} {side} items were asked for, but there are {len(labels)}; "
                f"ask for fewer, or {ALL} for all"
            )
        chosen = self._ordered(labels)
        return chosen if count == ALL else chosen[:count]

    def _ordered(self, labels: Labels) -> npt.NDArray[np.int64]:
        if self.order == "balanced":
            return balanced_order(labels, self.seed)
        positions = np.arange(len(labels))
        return positions if self.order == "stored" else _random(self.seed).permutation(positions)


EVERYTHING: Final = Subset()
"""All items, the classes taking turns."""


def balanced_order(labels: Labels, seed: int) -> npt.NDArray[np.int64]:
    """Return all positions in an order of which every beginning is as balanced as can be.

    The classes take turns, in another order each time round, and each gives its items in a random
    order; a class that has none left drops out. So the numbers of two classes in a beginning differ
    by at most one unless the smaller is used up, and the first rounds of successive halving see all
    classes.
    """
    random = _random(seed)
    shuffled = random.permutation(len(labels))
    turns = np.empty(len(labels), np.int64)
    turns[shuffled] = _turns(labels[shuffled])
    return np.lexsort((random.random(len(labels)), turns))


def stratified_split(
    labels: Labels, test_fraction: float, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the positions of a training and a test part, each in ascending order.

    Of each class the same fraction is for the test, rounded, but at least one item on either side.

    Raises:
        DataError: the fraction is not between 0 and 1, or a class has a single item.
    """
    if not 0 < test_fraction < 1:
        raise DataError(f"a test fraction of {test_fraction}, expected one between 0 and 1")
    sizes = np.bincount(labels)
    if np.any(sizes == 1):
        label = int(np.flatnonzero(sizes == 1)[0])
        raise DataError(f"class {label} has a single item, at least 2 expected to split it")
    n_test = np.clip(np.rint(sizes * test_fraction).astype(np.int64), 1, np.maximum(sizes - 1, 1))
    shuffled = _random(seed).permutation(len(labels))
    is_test = np.empty(len(labels), bool)
    is_test[shuffled] = _turns(labels[shuffled]) < n_test[labels[shuffled]]
    return np.flatnonzero(~is_test), np.flatnonzero(is_test)


def _turns(labels: Labels) -> npt.NDArray[np.int64]:
    """Return for each item how many of its class stand before it."""
    by_class = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels)
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    turns = np.empty(len(labels), np.int64)
    turns[by_class] = np.arange(len(labels)) - starts
    return turns


def _random(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)
