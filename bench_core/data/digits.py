"""scikit-learn's digits: 1797 real handwritten digits, embedded in the library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch

from bench_core.data.dataset import Inputs, Labels, SearchData
from bench_core.data.errors import DataError
from bench_core.data.images import decoder_version
from bench_core.data.in_memory import Images, Indices, Vectors
from bench_core.data.pixels import Pixels
from bench_core.data.subset import EVERYTHING, Subset, stratified_split
from bench_core.optional import require

_BRIGHTEST: Final = 16
_CLASSES: Final = tuple("0123456789")


class Digits(Images):
    """Digits of 8 x 8 grey levels that are enlarged to RGB images whenever they are decoded."""

    def __init__(self, small: torch.Tensor, labels: Labels, size: int, pixels: Pixels) -> None:
        """Keep ``small``: ``(n, 8, 8)`` uint8."""
        super().__init__("digits", small, labels, _CLASSES, pixels)
        self.shape = (3, size, size)
        self._size = size

    @property
    def decoded_bytes(self) -> int:
        """Bytes of one enlarged image."""
        return 3 * self._size**2

    def decoded(self, indices: Indices) -> Inputs:
        """Return the images enlarged, ``(n, 3, size, size)`` uint8, each by Pillow (bilinear)."""
        image = require("PIL.Image", "search")
        images = torch.empty((len(indices), *self.shape), dtype=torch.uint8)
        for index, target in zip(indices, images.numpy(), strict=True):
            small = image.fromarray(self._stored[0][int(index)].numpy())
            large = small.resize((self._size, self._size), image.Resampling.BILINEAR)
            target[:] = np.asarray(large)
        return images

    def _with(self, stored: Sequence[torch.Tensor], labels: Labels) -> Digits:
        return Digits(stored[0], labels, self._size, self._pixels)

    def _settings(self) -> Mapping[str, Any]:
        return {**super()._settings(), "decoder": decoder_version()}


def load_digits(
    *,
    size: int = 32,
    test_fraction: float = 0.2,
    mean: Sequence[float] = Pixels.mean,
    std: Sequence[float] = Pixels.std,
    seed: int = 0,
    subset: Subset = EVERYTHING,
) -> SearchData:
    """Return the digits as images of 10 classes, split into training and test items.

    Args:
        size: height and width in pixels.
        test_fraction: of each class.
        mean: of each colour, for the normalisation.
        std: of each colour.
        seed: of the split.
        subset: which of the items take part.

    Raises:
        DataError: the size is below 1, or what `stratified_split` refuses.
    """
    if size < 1:
        raise DataError(f"images of {size} pixels, expected 1 or more")
    grey, labels = _bunch()
    small = torch.from_numpy((grey * 255 / _BRIGHTEST).round().astype(np.uint8))
    whole = Digits(small, labels, size, Pixels.of(mean, std))
    train, test = stratified_split(labels, test_fraction, seed)
    return subset.of(whole.select(train), whole.select(test))


def load_digit_vectors(
    *, test_fraction: float = 0.2, seed: int = 0, subset: Subset = EVERYTHING
) -> SearchData:
    """Return the digits as vectors of their 64 grey levels, 0 to 1: for models of vectors.

    Raises:
        DataError: what `stratified_split` refuses.
    """
    grey, labels = _bunch()
    values = torch.from_numpy((grey.reshape(len(grey), -1) / _BRIGHTEST).astype(np.float32))
    whole = Vectors("digit_vectors", values, labels, _CLASSES)
    train, test = stratified_split(labels, test_fraction, seed)
    return subset.of(whole.select(train), whole.select(test))


def _bunch() -> tuple[np.ndarray[Any, np.dtype[np.float64]], Labels]:
    """Return grey levels ``(1797, 8, 8)`` from 0 to 16, and labels."""
    bunch = require("sklearn.datasets", "search").load_digits()
    return bunch.images, bunch.target.astype(np.int64)
