"""A user's own arrays as the data of a search: images of bytes, or vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import torch

from bench_core.data.checks import checked
from bench_core.data.dataset import Dataset, SearchData
from bench_core.data.errors import DataError
from bench_core.data.in_memory import Images, Vectors
from bench_core.data.pixels import Pixels
from bench_core.data.subset import EVERYTHING, Subset
from bench_core.errors import CorruptFileError

KEYS: Final = ("x_train", "y_train", "x_test", "y_test")

Items = npt.NDArray[Any] | Sequence[npt.NDArray[Any]]
ClassOf = npt.NDArray[Any] | Sequence[Any] | None


def from_arrays(
    x_train: Items,
    y_train: ClassOf,
    x_test: Items,
    y_test: ClassOf,
    *,
    name: str = "arrays",
    mean: Sequence[float] = Pixels.mean,
    std: Sequence[float] = Pixels.std,
    subset: Subset = EVERYTHING,
) -> SearchData:
    """Return arrays as the data of a search.

    Args:
        x_train: images, uint8 of ``(n, 3, height, width)``, ``(n, height, width, 3)`` or, grey,
            ``(n, height, width)``; or vectors, floating-point numbers of ``(n, width)``.
        y_train: for each item its class: whole numbers or names.
        x_test: as ``x_train``, of the same shape.
        y_test: as ``y_train``; no class that is not there.
        name: of the data, for messages.
        mean: of each colour, for the normalisation of images.
        std: of each colour.
        subset: which of the items take part.

    Raises:
        DataError: other shapes or types, no labels, a class that only the test items have, or what
            `checked` refuses: sides of different shapes, or training items of one class.
    """
    pixels = Pixels.of(mean, std)
    names, labels = np.unique(_labels(y_train, name), return_inverse=True)
    classes = [str(value) for value in names]
    test_labels = _known(_labels(y_test, name), names, name)
    train = _dataset(x_train, labels.reshape(-1), classes, name, pixels)
    test = _dataset(x_test, test_labels, classes, name, pixels)
    return checked(subset.of(train, test))


def load_npz(
    path: str | Path,
    *,
    mean: Sequence[float] = Pixels.mean,
    std: Sequence[float] = Pixels.std,
    subset: Subset = EVERYTHING,
) -> SearchData:
    """Return the arrays ``x_train``, ``y_train``, ``x_test`` and ``y_test`` of an ``.npz`` file.

    Nothing in the file is executed: arrays of objects are refused.

    Raises:
        DataError: an array is missing, or what `from_arrays` refuses.
        CorruptFileError: the file cannot be read.
    """
    file = Path(path)
    try:
        with np.load(file, allow_pickle=False) as content:
            missing = [key for key in KEYS if key not in content]
            if missing:
                raise DataError(f"{file}: no array {missing[0]}; expected {', '.join(KEYS)}")
            found = [content[key] for key in KEYS]
    except DataError:
        raise
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise CorruptFileError(f"{file}: no arrays that can be read ({error})") from error
    return from_arrays(*found, name=file.name, mean=mean, std=std, subset=subset)


def _labels(given: ClassOf, name: str) -> npt.NDArray[Any]:
    if given is None:
        raise DataError(f"{name}: labels are missing; give the class of each item")
    labels = np.asarray(given)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iuU" or not len(labels):
        raise DataError(
            f"{name}: labels of type {labels.dtype} and shape {labels.shape}, expected one whole "
            "number or name for each item"
        )
    if labels.dtype.kind == "i" and labels.min() < 0:
        raise DataError(
            f"{name}: item {int(labels.argmin())} has label {labels.min()}, expected 0 or more; "
            "leave out items without a label"
        )
    return labels


def _known(labels: npt.NDArray[Any], names: npt.NDArray[Any], name: str) -> npt.NDArray[np.int64]:
    """Return the labels as positions among the training items' classes."""
    known = np.isin(labels, names)
    if not known.all():
        raise DataError(
            f"{name}: class {labels[~known][0]} is among the test items only; leave it out, or add "
            "items to learn it from"
        )
    return np.searchsorted(names, labels).astype(np.int64)


def _dataset(
    items: Items,
    labels: npt.NDArray[np.int64],
    classes: Sequence[str],
    name: str,
    pixels: Pixels,
) -> Dataset:
    values = _stacked(items, name)
    if values.dtype.kind == "f" and values.ndim == 2:
        vectors = torch.from_numpy(values.astype(np.float32))
        return Vectors(name, vectors, labels, classes)
    images = _channels_first(values)
    if values.dtype != np.uint8 or images is None:
        raise DataError(
            f"{name}: items of type {values.dtype} and shape {values.shape}, expected uint8 images "
            "(n, 3, height, width), (n, height, width, 3) or (n, height, width), or "
            "floating-point vectors (n, width)"
        )
    return Images(name, torch.from_numpy(np.array(images)), labels, classes, pixels)


def _stacked(items: Items, name: str) -> npt.NDArray[Any]:
    """Return the items as one array."""
    if isinstance(items, np.ndarray):
        return items
    found = [np.asarray(item) for item in items]
    shapes = sorted({item.shape for item in found})
    if len(shapes) > 1:
        raise DataError(
            f"{name}: items of different shapes, {shapes[0]} and {shapes[1]} among them; bring "
            "them to one size first"
        )
    return np.array(found)


def _channels_first(images: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
    """Return the images as ``(n, 3, height, width)``, or None if they are none."""
    if images.ndim == 3:
        return np.repeat(images[:, None], 3, axis=1)
    if images.ndim != 4:
        return None
    if images.shape[1] == 3:
        return images
    return images.transpose(0, 3, 1, 2) if images.shape[3] == 3 else None
