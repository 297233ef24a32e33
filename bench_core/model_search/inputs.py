"""Model inputs in the order in which they are used, each item read and decoded once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from bench_core.data import Dataset, Inputs, SearchData
from bench_core.model_search.batches import Batch
from bench_core.model_search.copy_stream import CopyStream, copy_stream
from bench_core.model_search.meter import Meter
from bench_core.models.chains import nbytes_of, tensors_of


class InputFeeder:
    """Makes the next batch ready while the one before is computed with.

    A batch that is used again (several base models have no block in common) is kept in its decoded
    form, uint8 for images, until its last use, as far as ``keep_bytes`` allows.
    """

    def __init__(
        self, data: SearchData, device: torch.device, meter: Meter, keep_bytes: int
    ) -> None:
        """Be ready for the calling thread, which is the one that computes."""
        self._data, self._device, self._meter = data, device, meter
        self._copies = copy_stream(device)
        self._keep_bytes = keep_bytes
        self._decoded: dict[Batch, Inputs] = {}

    def supply(self, batches: Sequence[Batch]) -> Generator[Inputs]:
        """Yield the inputs of each batch, on the device.

        Raises:
            CorruptFileError: an item cannot be decoded.
        """
        uses = Counter(batches)
        pool = ThreadPoolExecutor(1, thread_name_prefix="inputs")
        try:
            ahead = pool.submit(self._make, batches[0], uses) if batches else None
            for index in range(len(batches)):
                assert ahead is not None
                with self._meter.phase("prepare_data"):
                    inputs = ahead.result()
                if index + 1 < len(batches):
                    ahead = pool.submit(self._make, batches[index + 1], uses)
                yield inputs
        finally:
            self._decoded.clear()
            pool.shutdown(wait=True, cancel_futures=True)

    def once(self, batch: Batch) -> Inputs:
        """Return the inputs of a batch, made at once and by the caller's thread.

        Raises:
            CorruptFileError: an item cannot be decoded.
        """
        return self._finished(batch, self._decode(batch))

    def _make(self, batch: Batch, uses: Counter[Batch]) -> Inputs:
        decoded = self._decoded.get(batch)
        if decoded is None:
            decoded = self._decode(batch)
        uses[batch] -= 1
        if not uses[batch]:
            self._decoded.pop(batch, None)
        elif sum(map(nbytes_of, self._decoded.values())) + nbytes_of(decoded) <= self._keep_bytes:
            self._decoded[batch] = decoded
        return self._finished(batch, decoded)

    def _decode(self, batch: Batch) -> Inputs:
        decoded = self._dataset(batch).decoded(batch.indices)
        self._meter.count("items_decoded", len(batch))
        return decoded

    def _finished(self, batch: Batch, decoded: Inputs) -> Inputs:
        self._meter.count("inputs_made", len(batch))
        inputs = self._dataset(batch).finished(decoded)
        return to_device(inputs, self._device, self._meter, self._copies)

    def _dataset(self, batch: Batch) -> Dataset:
        return self._data.train if batch.split == "train" else self._data.test


def to_device(
    inputs: Inputs, device: torch.device, meter: Meter, copies: CopyStream | None = None
) -> Inputs:
    """Return the inputs on the device; they are there when this returns."""
    if device.type == "cpu":
        return inputs
    copies = copies or CopyStream()
    meter.count("bytes_to_device", nbytes_of(inputs))
    with copies.copying():
        moved = tuple(copies.copy(tensor, device) for tensor in tensors_of(inputs))
    copies.hand_over(moved)
    return moved if isinstance(inputs, tuple) else moved[0]
