"""Features at a common scale."""

from __future__ import annotations

import torch
from torch import Tensor


def standardised(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Return both ``(n, dim)`` with the train features' mean 0 and deviation 1, in float64.

    A feature that is the same for all train items, but for rounding, is only centred.
    """
    wide = train.double()
    mean, deviation = wide.mean(0), wide.std(0, correction=0)
    noise = torch.finfo(torch.float32).eps * wide.abs().amax(0)
    scale = torch.where(deviation > noise, deviation, 1.0)
    return (wide - mean) / scale, (test.double() - mean) / scale
