"""Gradient descent of linear heads, those of many models in one loop, to the bit as each alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

LINE: Final = 16
"""Floats in 64 bytes: whatever a kernel reads or writes starts at a multiple of them."""
_STACKED: Final = 2**17
"""Up to so many multiplications a product, calls cost more than arithmetic, and stacks pay off.

OpenBLAS, which numpy brings, splits none among threads that has less than twice as many.
"""
_TOGETHER: Final = 32
"""Heads in one stack: more are hardly faster."""
_STACK: Final = 2**22
"""Floats, 16 MiB: a stack's features are a copy."""


@dataclass(frozen=True)
class Batch:
    """A batch of training items, filled up with items of zeros to whole 64 bytes of outputs.

    A filler adds nothing to the gradient, because its features and its bias are 0.
    """

    start: int
    """Of the first row among those of all batches."""
    size: int
    """Items, without fillers."""
    stop: int
    """After the last filler."""
    targets: Tensor
    """``(n_classes, stop - start)`` float32: 1 at the items' labels."""

    @property
    def rows(self) -> slice:
        """Where items and fillers lie."""
        return slice(self.start, self.stop)


def batches_of(labels: Tensor, sizes: Sequence[int], n_classes: int) -> list[Batch]:
    """Return the batches that ``labels`` ``(n,)`` are cut into."""
    found: list[Batch] = []
    start = 0
    for part in torch.split(labels, list(sizes)):
        width = in_lines(len(part))
        targets = torch.zeros(n_classes, width)
        targets[part, torch.arange(len(part))] = 1
        found.append(Batch(start, len(part), start + width, targets))
        start += width
    return found


def with_bias(features: Sequence[Tensor], batches: Sequence[Batch]) -> Tensor:
    """Return features ``(n, dim)`` of M models as ``(M, rows of all batches, padded dim)`` float32.

    Behind an item's features stands a one for the bias, then zeros.
    """
    dim = features[0].shape[1]
    rows = torch.zeros(len(features), batches[-1].stop, in_lines(dim + 1))
    sizes = [batch.size for batch in batches]
    for model, items in zip(rows, features, strict=True):
        for batch, part in zip(batches, torch.split(items, sizes), strict=True):
            model[batch.start : batch.start + batch.size, :dim] = part
    for batch in batches:
        rows[:, batch.start : batch.start + batch.size, dim] = 1
    return rows


def in_lines(count: int) -> int:
    """Return the multiple of `LINE` that ``count`` floats fill."""
    return -(-count // LINE) * LINE


def heads_at_once(dim: int, batches: Sequence[Batch]) -> int:
    """Return how many heads `descend` should be given: 1 where arithmetic outweighs calls."""
    padded = in_lines(dim + 1)
    if not _is_small(padded, batches):
        return 1
    return max(1, min(_TOGETHER, _STACK // (padded * batches[-1].stop)))


def descend(
    weights: Tensor, items: Tensor, batches: Sequence[Batch], rate: float, epochs: int
) -> None:
    """Train heads in place by plain descent on the mean cross entropy of each batch in turn.

    On one thread (see `torch_threads`) a head comes out the same, bit for bit, alone and in
    any stack, by what is called:

    * A product of two matrices of a head is a call of its own to the BLAS, of the same sizes and
      strides, on memory that starts at 64 bytes: `numpy.matmul` makes one for each matrix of a
      stack. `torch.bmm` hands all of them to the BLAS at once, which may choose by their number.
    * Softmax runs over the classes of each item; items lie side by side in whole 64 bytes, so no
      vector of the machine holds items of two heads and none is left over. Several threads would
      cut them anywhere.
    * All else is one rounding for each number: difference, product, sum. No two are fused.

    Which of two ways the products take, features' size and labels alone decide.

    Args:
        weights: ``(M, n_classes, padded dim)``.
        items: ``(M, rows, padded dim)``, see `with_bias`.
        batches: of the rows.
        rate: of the mean gradient.
        epochs: times that all batches are gone through.
    """
    if _is_small(items.shape[2], batches):
        _descend_stacked(weights, items, batches, rate, epochs)
    else:
        for head, rows in zip(weights, items, strict=True):
            _descend_alone(head, rows, batches, rate, epochs)


def _is_small(padded: int, batches: Sequence[Batch]) -> bool:
    return max(batch.targets.numel() for batch in batches) * padded <= _STACKED


def _descend_stacked(
    weights: Tensor, items: Tensor, batches: Sequence[Batch], rate: float, epochs: int
) -> None:
    """Train many heads by numpy, whose calls cost least; torch has the faster softmax."""
    heads, gradient = weights.numpy(), torch.empty_like(weights).numpy()
    steps = []
    for batch in batches:
        rows = items.numpy()[:, batch.rows]
        error = torch.empty(len(weights), *batch.targets.shape)
        scale = np.float32(-rate / batch.size)
        steps.append(
            (rows, rows.swapaxes(1, 2), batch.targets.numpy(), scale, error, error.numpy())
        )
    with np.errstate(all="ignore"):  # a head that diverges is found afterwards
        for _ in range(epochs):
            for rows, columns, targets, scale, error, numbers in steps:
                np.matmul(heads, columns, out=numbers)
                torch.softmax(error, 1, out=error)
                np.subtract(numbers, targets, out=numbers)
                np.multiply(numbers, scale, out=numbers)
                np.matmul(numbers, rows, out=gradient)
                np.add(heads, gradient, out=heads)


def _descend_alone(
    weights: Tensor, items: Tensor, batches: Sequence[Batch], rate: float, epochs: int
) -> None:
    """Train one head by torch, whose large products are the faster ones."""
    steps = []
    for batch in batches:
        rows, error = items[batch.rows], torch.empty_like(batch.targets)
        steps.append((rows, rows.T, batch.targets, -rate / batch.size, error))
    for _ in range(epochs):
        for rows, columns, targets, scale, error in steps:
            torch.mm(weights, columns, out=error)
            # Over the first dimension: over the last one it takes up to eight times as long.
            torch.softmax(error, 0, out=error)
            error.sub_(targets)
            weights.addmm_(error, rows, alpha=scale)
