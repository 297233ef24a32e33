"""Gaussian clusters as vectors: a data set that is made in no time."""

from __future__ import annotations

import numpy as np
import torch

from bench_core.data.dataset import SearchData
from bench_core.data.errors import DataError
from bench_core.data.in_memory import Vectors
from bench_core.data.subset import EVERYTHING, Subset


def load_vectors(
    *,
    width: int = 64,
    n_classes: int = 10,
    n_train: int = 800,
    n_test: int = 200,
    separation: float = 1.0,
    seed: int = 0,
    subset: Subset = EVERYTHING,
) -> SearchData:
    """Return vectors around one random centre for each class, with noise of deviation 1.

    Args:
        width: numbers of a vector.
        n_classes: how many clusters; the items are shared out among them evenly.
        n_train: training items to draw.
        n_test: test items to draw.
        separation: deviation of the centres' coordinates: 0 leaves nothing to be learnt.
        seed: of the centres and the noise.
        subset: which of the items take part.

    Raises:
        DataError: fewer items than classes, or no width.
    """
    if width < 1 or n_classes < 2 or min(n_train, n_test) < n_classes:
        raise DataError(
            f"{n_train} training and {n_test} test vectors of width {width} in {n_classes} "
            "classes, expected a width of 1 or more, 2 classes or more, and no fewer items of "
            "either side than classes"
        )
    random = np.random.default_rng(seed)
    centres = separation * random.standard_normal((n_classes, width))
    sides = [_around(centres, count, random) for count in (n_train, n_test)]
    return subset.of(*sides)


def _around(
    centres: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    count: int,
    random: np.random.Generator,
) -> Vectors:
    n_classes, width = centres.shape
    labels = np.arange(count, dtype=np.int64) % n_classes
    values = (centres[labels] + random.standard_normal((count, width))).astype(np.float32)
    classes = [f"cluster-{index}" for index in range(n_classes)]
    return Vectors("vectors", torch.from_numpy(values), labels, classes)
