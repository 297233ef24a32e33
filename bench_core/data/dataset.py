"""What a labelled data set offers to a search: batches by index, labels, and an identity."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

Inputs = torch.Tensor | tuple[torch.Tensor, ...]
"""A batch as a model takes it: images ``(batch, 3, height, width)`` float32, or token ids and
attention mask, both ``(batch, length)`` int64, or vectors ``(batch, width)`` float32."""

Labels = npt.NDArray[np.int64]


class Dataset(ABC):
    """Labelled items, in a fixed order."""

    name: str
    kind: Literal["image", "tokens", "vector"]
    shape: tuple[int, ...]
    """Of one item; for tokens ``(length,)``."""
    classes: tuple[str, ...]
    labels: Labels
    """``(n,)``: for each item the index of its class."""

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.labels)

    @property
    @abstractmethod
    def digest(self) -> str:
        """Hexadecimal, over everything that decides what `batch` returns: equal digests, equal
        batches, in every process.
        """

    def batch(self, indices: Sequence[int] | npt.NDArray[np.int64]) -> Inputs:
        """Return these items, read and preprocessed anew.

        Raises:
            CorruptFileError: an item cannot be decoded; the file is named.
        """
        return self.finished(self.decoded(indices))

    @property
    def largest_token(self) -> int | None:
        """The highest token id, which a model must have a row for; None where it is not known."""
        return None

    @property
    @abstractmethod
    def decoded_bytes(self) -> int:
        """Bytes of one item as `decoded` keeps it."""

    @abstractmethod
    def decoded(self, indices: Sequence[int] | npt.NDArray[np.int64]) -> Inputs:
        """Return these items read and decoded, in the form that is cheap to keep (uint8 images).

        Raises:
            CorruptFileError: an item cannot be decoded; the file is named.
        """

    @abstractmethod
    def finished(self, decoded: Inputs) -> Inputs:
        """Return what `batch` returns, bit for bit, from what `decoded` returned."""

    @abstractmethod
    def select(self, indices: Sequence[int] | npt.NDArray[np.int64]) -> Dataset:
        """Return a data set of these items, in this order, with the same classes."""


@dataclass(frozen=True)
class SearchData:
    """The two sides of a search's data: the proxy learns from one and is scored on the other."""

    train: Dataset
    test: Dataset
