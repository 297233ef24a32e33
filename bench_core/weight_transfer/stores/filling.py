"""Fills a tensor from the bytes that a database gave."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from bench_core.errors import CorruptFileError
from bench_core.formats.dtypes import byte_view


def fill(destination: torch.Tensor, value: Any, owner: int) -> None:
    """Copy a tensor of a model, a buffer, into one of the same shape and type, on any device.

    Raises:
        CorruptFileError: there are more or fewer bytes.
    """
    if len(value) != destination.nbytes:
        raise CorruptFileError(
            f"a tensor of model {owner} has {len(value)} bytes, {destination.dtype} "
            f"{list(destination.shape)} has {destination.nbytes}"
        )
    if destination.device.type == "cpu" and destination.is_contiguous():
        byte_view(destination.detach())[:] = np.frombuffer(value, np.uint8)
        return
    staged = torch.empty(destination.shape, dtype=destination.dtype)
    byte_view(staged)[:] = np.frombuffer(value, np.uint8)
    with torch.no_grad():
        destination.copy_(staged)
