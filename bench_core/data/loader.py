"""Batches with given borders, read in line or by worker processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from bench_core.data.dataset import Dataset, Inputs
from bench_core.data.errors import DataError
from bench_core.errors import BenchCoreError

_Indices = Sequence[int] | npt.NDArray[np.int64]


def batches(
    dataset: Dataset,
    indices: Sequence[_Indices],
    workers: int,
    *,
    start: str | None = None,
) -> Iterator[Inputs]:
    """Return an iterator over the batches, of the same bits for any number of workers.

    With workers they start before this returns, each makes whole batches, and they end with the
    iterator.

    Args:
        dataset: must be picklable where processes are not forked.
        indices: for each batch the positions of its items.
        workers: processes; 0 reads in line, when the next batch is asked for.
        start: how they are started, such as ``fork``; None for this process's own way. In a process
            that was itself spawned that is ``spawn``, which imports everything anew.

    Raises:
        DataError: the number of workers is negative.
        CorruptFileError: by the iterator: an item cannot be decoded; the file is named.
    """
    if workers < 0:
        raise DataError(f"{workers} workers to load data, expected 0 or more")
    if workers == 0:
        return map(dataset.batch, indices)
    loader = DataLoader(
        _Batches(dataset),
        batch_size=None,
        sampler=indices,
        num_workers=min(workers, max(len(indices), 1)),
        collate_fn=_as_it_is,
        multiprocessing_context=start,
    )
    return map(_checked, iter(loader))


class _Batches(TorchDataset["Inputs | BenchCoreError"]):
    """A data set whose "items" are whole batches."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def __getitem__(self, indices: _Indices) -> Inputs | BenchCoreError:
        """Return a batch, or the error: raised, it would come with a worker's traceback as text."""
        try:
            return self._dataset.batch(indices)
        except BenchCoreError as error:
            return error


def _as_it_is(batch: Any) -> Any:
    """Keep torch from making a list of a tuple."""
    return batch


def _checked(batch: Inputs | BenchCoreError) -> Inputs:
    if isinstance(batch, BenchCoreError):
        raise batch
    return batch
