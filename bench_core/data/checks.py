"""What every search asks of its data, wherever they come from."""

from __future__ import annotations

from bench_core.data.dataset import SearchData
from bench_core.data.errors import DataError
from bench_core.data.in_memory import check_labels


def checked(data: SearchData) -> SearchData:
    """Return the data, if a search can be made of them.

    Raises:
        DataError: a side is empty, a label names no class, the sides are of different kind, shape
            or classes, or the training items are all of one class.
    """
    train, test = data.train, data.test
    for side, dataset in (("training", train), ("test", test)):
        if not len(dataset):
            raise DataError(f"{dataset.name}: no {side} items")
        check_labels(dataset.labels, len(dataset.classes), dataset.name)
    if (train.kind, train.shape) != (test.kind, test.shape):
        raise DataError(
            f"{train.name}: training items are {train.kind} of {train.shape}, test items "
            f"{test.kind} of {test.shape}; expected the same"
        )
    if train.classes != test.classes:
        raise DataError(f"{train.name}: training and test items have different classes")
    labels = set(train.labels.tolist())
    if len(labels) < 2:
        raise DataError(
            f"{train.name}: all {len(train)} training items are of class "
            f"{train.classes[labels.pop()]}; expected 2 classes or more"
        )
    return data
