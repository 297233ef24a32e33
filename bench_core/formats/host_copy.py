"""Copies from host memory to host memory with all threads, and one wait for all tensors."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

_BATCH: Final = 4 * 2**20
"""Bytes that a thread copies before it takes more."""

_MAXIMUM_THREADS: Final = 8
"""More do not copy faster: a few cores saturate the memory."""

_TORCH_GRAIN: Final = 32_768
"""Elements below which torch copies a tensor with one thread."""

_Copy = tuple[npt.NDArray[Any], npt.NDArray[Any]]


def is_worth_threads(tensor: torch.Tensor) -> bool:
    """Whether `copy_on_host` takes the tensor, and is not slower than `torch.Tensor.copy_`."""
    return (
        tensor.is_cpu
        and tensor.numel() >= _TORCH_GRAIN
        and tensor.is_contiguous()
        and not (tensor.is_neg() or tensor.is_conj())  # flags that only torch resolves
    )


def copy_tensors(pairs: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Copy for each (destination, source) of one shape and type the source, wherever they are."""
    on_host = []
    for destination, source in pairs:
        if is_worth_threads(destination) and is_worth_threads(source):
            on_host.append((destination.detach(), source.detach()))
        else:
            destination.detach().copy_(source)
    copy_on_host(on_host)
    changed = [destination for destination, _ in on_host if not destination.is_inference()]
    torch.autograd.graph.increment_version(changed)


def copy_on_host(pairs: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Copy for each (destination, source) the source, all contiguous CPU tensors of equal size.

    `torch.Tensor.copy_` waits for all its threads at every tensor: where other processes want the
    cores too, a model of a thousand tensors waits a thousand times for a thread that does not run.
    """
    batches = list(_batches(pairs))
    n_threads = min(len(batches), _MAXIMUM_THREADS, os.cpu_count() or 1)
    if n_threads <= 1:
        for batch in batches:
            _copy(batch)
        return
    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(_copy, batches))


def _batches(pairs: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> Iterator[list[_Copy]]:
    """Give the copies in lists of about one batch: large tensors cut, small ones together."""
    batch: list[_Copy] = []
    room = _BATCH
    for destination, source in pairs:
        into, out_of = _bytes(destination), _bytes(source)
        start = 0
        while start < len(into):
            end = min(start + room, len(into))
            batch.append((into[start:end], out_of[start:end]))
            room -= end - start
            start = end
            if room == 0:
                yield batch
                batch, room = [], _BATCH
    yield batch


def _copy(batch: list[_Copy]) -> None:
    for into, out_of in batch:
        np.copyto(into, out_of)


def _bytes(tensor: torch.Tensor) -> npt.NDArray[Any]:
    flat: npt.NDArray[Any] = tensor.view(-1).view(torch.uint8).numpy()
    return flat
