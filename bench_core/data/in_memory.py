"""Data sets whose items lie in memory: vectors, token ids with their mask, images as bytes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bench_core.data.dataset import Dataset, Inputs, Labels
from bench_core.data.errors import DataError
from bench_core.data.identity import digest_of
from bench_core.data.pixels import Pixels

Indices = Sequence[int] | npt.NDArray[np.int64]


class InMemory(Dataset):
    """Items that lie in tensors whose first dimension counts them."""

    def __init__(
        self, name: str, stored: Sequence[torch.Tensor], labels: Labels, classes: Sequence[str]
    ) -> None:
        """Check that there is a label for each item.

        Raises:
            DataError: labels are missing, or name no class.
        """
        self.name, self.classes = name, tuple(classes)
        self.labels = check_labels(labels, len(self.classes), name)
        self._stored = tuple(stored)
        for tensor in self._stored:
            if len(tensor) != len(labels):
                raise DataError(
                    f"{name}: {len(tensor)} items and {len(labels)} labels, expected one for each"
                )

    @property
    def digest(self) -> str:
        """Over the items' bits, their labels, and what `finished` does to them."""
        description = {
            "kind": self.kind,
            "shape": self.shape,
            "classes": self.classes,
            **self._settings(),
        }
        return digest_of(description, [self.labels, *(tensor.numpy() for tensor in self._stored)])

    @property
    def decoded_bytes(self) -> int:
        """Bytes of one item in memory."""
        return sum(tensor.element_size() * tensor[:1].numel() for tensor in self._stored)

    def decoded(self, indices: Indices) -> Inputs:
        """Return these items as they lie in memory."""
        index = np.asarray(indices, dtype=np.int64)
        # By numpy: torch would start threads of its own beside a computation.
        chosen = tuple(torch.from_numpy(tensor.numpy()[index]) for tensor in self._stored)
        return chosen if len(chosen) > 1 else chosen[0]

    def select(self, indices: Indices) -> InMemory:
        """Return a data set of these items, in this order, with the same classes."""
        index = np.asarray(indices, dtype=np.int64)
        stored = [tensor[torch.from_numpy(index)] for tensor in self._stored]
        return self._with(stored, self.labels[index])

    @abstractmethod
    def _with(self, stored: Sequence[torch.Tensor], labels: Labels) -> InMemory:
        """Return a data set of the same settings with other items."""

    def _settings(self) -> Mapping[str, Any]:
        """Return what decides, beside the stored items, what `batch` returns."""
        return {}


class Vectors(InMemory):
    """Vectors of floating-point numbers, ``(n, width)`` float32."""

    kind = "vector"

    def __init__(
        self, name: str, values: torch.Tensor, labels: Labels, classes: Sequence[str]
    ) -> None:
        super().__init__(name, (values,), labels, classes)
        self.shape = tuple(values.shape[1:])

    def finished(self, decoded: Inputs) -> Inputs:
        """Return the vectors as they are."""
        return decoded

    def _with(self, stored: Sequence[torch.Tensor], labels: Labels) -> InMemory:
        return Vectors(self.name, stored[0], labels, self.classes)


class Tokens(InMemory):
    """Token ids ``(n, length)`` int32 and attention mask ``(n, length)`` bool, 5 bytes a token."""

    kind = "tokens"

    def __init__(
        self,
        name: str,
        ids: torch.Tensor,
        mask: torch.Tensor,
        labels: Labels,
        classes: Sequence[str],
    ) -> None:
        super().__init__(name, (ids, mask), labels, classes)
        self.shape = tuple(ids.shape[1:])

    @property
    def largest_token(self) -> int | None:
        """The highest id, also where the mask hides it: it is looked up there, too."""
        ids = self._stored[0]
        return int(ids.max()) if ids.numel() else None

    def finished(self, decoded: Inputs) -> Inputs:
        """Return ids and mask as int64, as models take them."""
        return tuple(tensor.to(torch.int64) for tensor in decoded)

    def _with(self, stored: Sequence[torch.Tensor], labels: Labels) -> InMemory:
        return Tokens(self.name, stored[0], stored[1], labels, self.classes)


class Images(InMemory):
    """Images of one size, ``(n, 3, height, width)`` uint8."""

    kind = "image"

    def __init__(
        self,
        name: str,
        images: torch.Tensor,
        labels: Labels,
        classes: Sequence[str],
        pixels: Pixels | None = None,
    ) -> None:
        super().__init__(name, (images,), labels, classes)
        self.shape = tuple(images.shape[1:])
        self._pixels = pixels or Pixels()

    def finished(self, decoded: Inputs) -> Inputs:
        """Return the images normalised."""
        assert isinstance(decoded, torch.Tensor)
        return self._pixels.finished(decoded)

    def _with(self, stored: Sequence[torch.Tensor], labels: Labels) -> InMemory:
        return Images(self.name, stored[0], labels, self.classes, self._pixels)

    def _settings(self) -> Mapping[str, Any]:
        return self._pixels.as_json()


def check_labels(labels: Labels, n_classes: int, name: str) -> Labels:
    """Return the labels as int64.

    Raises:
        DataError: they are no whole numbers in one row, or one is no class.
    """
    found = np.asarray(labels)
    if found.ndim != 1 or not np.issubdtype(found.dtype, np.integer):
        raise DataError(
            f"{name}: labels of type {found.dtype} and shape {found.shape}, expected one whole "
            "number for each item"
        )
    wrong = np.flatnonzero((found < 0) | (found >= n_classes))
    if len(wrong):
        raise DataError(
            f"{name}: item {wrong[0]} has label {found[wrong[0]]}, expected 0 to {n_classes - 1}; "
            "leave out items without a label"
        )
    return found.astype(np.int64)
