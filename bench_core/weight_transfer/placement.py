"""What a store does on several shards: a model lies with one of them, its owners with others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from typing import TypeVar

import torch

from bench_core.formats.direct.per_process import PerProcess
from bench_core.weight_transfer.errors import FullError, ModelExistsError, RetiredError, StoreError
from bench_core.weight_transfer.graphs import TensorId
from bench_core.weight_transfer.records import ModelRecord
from bench_core.weight_transfer.stores.shard import Shard

T = TypeVar("T")


class Placement:
    """Static placement: a model's record and its own tensors are with the shard id mod n."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        """Use these shards.

        Raises:
            StoreError: there is none.
        """
        if not shards:
            raise StoreError("a layer store needs at least one shard, none was given")
        self.shards = tuple(shards)
        self._pool = PerProcess(lambda: ThreadPoolExecutor(len(shards)))

    def shard(self, model: int) -> Shard:
        """Return the shard of a model."""
        return self.shards[model % len(self.shards)]

    def publish(self, record: ModelRecord) -> None:
        """Count what a model inherits, on the shards of its owners, then make it visible.

        What it inherits from owners of its own shard is counted in the same step.

        Raises:
            ModelExistsError, RetiredError, FullError: as `LayerStore.put`; no count has changed.
            StoreError: a shard does not answer; what was counted so far may stay until a sweep.
        """
        inherited = self._inherited(record)
        home = self.shard(record.id)
        here = inherited.pop(home, {})
        held: list[Shard] = []
        try:
            for shard, tensors in inherited.items():
                held.append(shard)  # first: the answer may be lost, the hold taken all the same
                shard.hold(tensors, record.token)
        except BaseException:
            self._give_back(record, held)
            raise
        # Whether a publication that failed otherwise, or was interrupted, is visible by now,
        # nobody knows here: holds too many are found by a sweep, one too few by no one.
        try:
            home.publish(record, here)
        except (FullError, ModelExistsError, RetiredError):
            self._give_back(record, held)
            raise

    def release(self, record: ModelRecord) -> int:
        """Give back all that a model holds, on all shards; return the freed bytes."""
        owners: dict[Shard, list[int]] = {}
        for owner in record.by_owner:
            owners.setdefault(self.shard(owner), []).append(owner)
        return sum(shard.release(of, record.token) for shard, of in owners.items())

    def read(self, record: ModelRecord, wanted: Mapping[TensorId, torch.Tensor]) -> None:
        """Fill tensors with a model's: one request for each shard, all at once.

        Raises:
            RetiredError, CorruptFileError, StoreError: as `Shard.read`.
        """
        requests: dict[Shard, dict[int, dict[TensorId, torch.Tensor]]] = {}
        for key, tensor in wanted.items():
            owner = record.owner_map[key]
            requests.setdefault(self.shard(owner), {}).setdefault(owner, {})[key] = tensor
        self._at_once([(shard.read, owners) for shard, owners in requests.items()])

    def close(self) -> None:
        """Let go of all shards."""
        pool = self._pool.release()
        if pool is not None:
            pool.shutdown()
        for shard in self.shards:
            shard.close()

    def _inherited(self, record: ModelRecord) -> dict[Shard, dict[int, tuple[TensorId, ...]]]:
        """Return what a model inherits, by the shards of the owners and then by these."""
        found: dict[Shard, dict[int, tuple[TensorId, ...]]] = {}
        for owner, tensors in record.by_owner.items():
            if owner != record.id:
                found.setdefault(self.shard(owner), {})[owner] = tensors
        return found

    def _give_back(self, record: ModelRecord, shards: Sequence[Shard]) -> None:
        for shard in shards:
            owners = [owner for owner in record.by_owner if self.shard(owner) is shard]
            with suppress(Exception):  # a server that is gone: the first error is the one to tell
                shard.release(owners, record.token)

    def _at_once(self, calls: Sequence[tuple[Callable[[T], None], T]]) -> None:
        if len(calls) == 1:
            ((call, argument),) = calls
            call(argument)
            return
        running = [self._pool.get().submit(call, argument) for call, argument in calls]
        wait(running)  # all of them, or those left would go on to fill the caller's tensors
        for done in running:
            done.result()
