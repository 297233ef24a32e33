"""A data set as it arrives at the first block that is trained: what is frozen runs once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from bench_core.data.dataset import Dataset, Inputs
from bench_core.models.chains import Activation
from bench_core.models.chains.modules import features_of, nbytes_of, run_blocks, tensors_of

Indices = npt.NDArray[np.int64]


class AtCut:
    """The activations of a data set's items behind the frozen blocks.

    Frozen blocks give the same in every epoch. So their output is kept when it fits the budget, and
    is computed anew for each batch when it does not.
    """

    def __init__(
        self,
        dataset: Dataset,
        frozen: Sequence[nn.Module],
        device: torch.device,
        batch_size: int,
        keep_bytes: int,
    ) -> None:
        self._dataset, self._frozen, self._device = dataset, frozen, device
        first = self._compute(np.arange(min(batch_size, len(dataset))))
        nbytes = nbytes_of(first) / max(len(features_of(first)), 1)
        fits = nbytes * len(dataset) <= keep_bytes
        self._kept = self._compute_all(first, batch_size) if fits else None

    def __len__(self) -> int:
        return len(self._dataset)

    def batch(self, indices: Indices) -> Activation:
        """Return what arrives at the cut for these items."""
        if self._kept is None:
            return self._compute(indices)
        chosen = torch.from_numpy(indices)
        taken = tuple(kept[chosen].to(self._device) for kept in self._kept)
        return taken if len(taken) > 1 else taken[0]

    def labels(self, indices: Indices) -> torch.Tensor:
        """Return these items' labels, ``(n,)``."""
        return torch.from_numpy(self._dataset.labels[indices]).to(self._device)

    def _compute_all(self, first: Activation, batch_size: int) -> tuple[torch.Tensor, ...]:
        parts = [[tensor.cpu()] for tensor in tensors_of(first)]
        done = len(parts[0][0])
        for indices in batches(np.arange(done, len(self)), batch_size):
            for part, tensor in zip(parts, tensors_of(self._compute(indices)), strict=True):
                part.append(tensor.cpu())
        return tuple(torch.cat(part) for part in parts)

    def _compute(self, indices: Indices) -> Activation:
        with torch.no_grad():
            return run_blocks(self._frozen, to_device(self._dataset.batch(indices), self._device))


def batches(order: Indices, batch_size: int) -> Iterator[Indices]:
    """Cut into batches of nearly equal size, at most ``batch_size``.

    Nearly equal, because BatchNorm can't be trained on a last batch of a single item.
    """
    if len(order):
        yield from np.array_split(order, math.ceil(len(order) / batch_size))


def to_device(inputs: Inputs, device: torch.device) -> Activation:
    """Return the batch on the device."""
    if isinstance(inputs, tuple):
        return tuple(tensor.to(device) for tensor in inputs)
    return inputs.to(device)
