"""Data sets made of other data sets: some of their classes, or all items changed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from bench_core.data.dataset import Dataset, Inputs
from bench_core.data.identity import digest_of
from bench_core.errors import UnsupportedError

Indices = Sequence[int] | npt.NDArray[np.int64]


def _inverted(images: torch.Tensor) -> torch.Tensor:
    return -images


def _rotated(images: torch.Tensor) -> torch.Tensor:
    return images.rot90(1, (-2, -1))


def _mirrored(images: torch.Tensor) -> torch.Tensor:
    return images.flip(-1)


def _shuffled(items: torch.Tensor) -> torch.Tensor:
    """Put the last dimension into one fixed order."""
    order = torch.from_numpy(np.random.RandomState(0).permutation(items.shape[-1]))
    return items[..., order]


def _noisy(items: torch.Tensor) -> torch.Tensor:
    """Add noise that is the same for equal items, half as strong as a normalised item."""
    noise = torch.empty_like(items)
    for item, target in zip(items, noise, strict=True):
        digest = hashlib.blake2b(item.contiguous().numpy().data, digest_size=8).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest, "little"))
        target.normal_(0, 0.5, generator=generator)
    return items + noise


CHANGES: Final[Mapping[str, Callable[[torch.Tensor], torch.Tensor]]] = {
    "inverted": _inverted,
    "rotated": _rotated,
    "mirrored": _mirrored,
    "shuffled": _shuffled,
    "noisy": _noisy,
}
"""Each keeps an item's shape and does not look at the others of its batch."""


class _View(Dataset):
    """The items of another data set, as it gives them."""

    def __init__(self, inner: Dataset) -> None:
        self._inner = inner
        self.name, self.kind, self.shape = inner.name, inner.kind, inner.shape
        self.classes, self.labels = inner.classes, inner.labels

    @property
    def decoded_bytes(self) -> int:
        """Bytes of one item as `decoded` keeps it."""
        return self._inner.decoded_bytes

    def decoded(self, indices: Indices) -> Inputs:
        """Return these items in the form that is cheap to keep."""
        return self._inner.decoded(indices)

    def finished(self, decoded: Inputs) -> Inputs:
        """Return what `batch` returns, bit for bit, from what `decoded` returned."""
        return self._inner.finished(decoded)


class SomeClasses(_View):
    """The items of some of a data set's classes, which are counted anew from 0."""

    def __init__(self, inner: Dataset, classes: Sequence[int]) -> None:
        super().__init__(inner.select(np.flatnonzero(np.isin(inner.labels, classes))))
        self._chosen = tuple(classes)
        new_label = {old: new for new, old in enumerate(classes)}
        self.classes = tuple(inner.classes[index] for index in classes)
        self.labels = np.array([new_label[old] for old in self._inner.labels.tolist()], np.int64)

    @property
    def digest(self) -> str:
        """Over the items' digest and the chosen classes."""
        return digest_of({"classes": self._chosen, "items": self._inner.digest})

    def select(self, indices: Indices) -> SomeClasses:
        """Return a data set of these items, in this order, with the same classes."""
        return SomeClasses(self._inner.select(indices), self._chosen)


class Changed(_View):
    """A data set whose items are all changed, by one of `CHANGES`. Not for tokens."""

    def __init__(self, inner: Dataset, change: str) -> None:
        super().__init__(inner)
        self._change = change

    @property
    def digest(self) -> str:
        """Over the items' digest and the change."""
        return digest_of({"change": self._change, "items": self._inner.digest})

    def finished(self, decoded: Inputs) -> Inputs:
        """Return what `batch` returns, bit for bit, from what `decoded` returned."""
        items = self._inner.finished(decoded)
        if isinstance(items, tuple):
            raise UnsupportedError(f"{self.name}: tokens cannot be {self._change}")
        return CHANGES[self._change](items)

    def select(self, indices: Indices) -> Changed:
        """Return a data set of these items, in this order, with the same classes."""
        return Changed(self._inner.select(indices), self._change)
