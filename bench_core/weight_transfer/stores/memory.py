"""A shard in the memory of this process."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence

import torch

from bench_core.formats.host_copy import copy_tensors
from bench_core.weight_transfer.errors import retired, taken, tensor_gone, unknown
from bench_core.weight_transfer.graphs import TensorId
from bench_core.weight_transfer.records import ModelRecord
from bench_core.weight_transfer.stores.shard import (
    Change,
    Hold,
    Leftovers,
    Shard,
    TensorsOfOwners,
    Usage,
)


class MemoryShard(Shard):
    """Records and copies of tensors in dictionaries; any number of threads may use it at once."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._unpublished: dict[str, dict[TensorId, torch.Tensor]] = {}
        self._tensors: dict[int, dict[TensorId, torch.Tensor]] = {}
        self._counts: Counter[tuple[int, TensorId]] = Counter()
        self._holds: dict[Hold, tuple[TensorId, ...]] = {}
        self._records: dict[int, ModelRecord] = {}
        self._retired: dict[int, None] = {}
        self._pins: dict[int, set[str]] = {}
        self._history: list[Change] = []

    def write(self, token: str, tensors: Mapping[TensorId, torch.Tensor]) -> int:
        """Copy the tensors."""
        copies = {key: torch.empty_like(t, device="cpu") for key, t in tensors.items()}
        with torch.no_grad():
            copy_tensors((copies[key], tensor.detach()) for key, tensor in tensors.items())
        with self._lock:
            self._unpublished[token] = copies
        return sum(copy.nbytes for copy in copies.values())

    def discard(self, token: str) -> None:
        """Forget the copies."""
        with self._lock:
            self._unpublished.pop(token, None)

    def hold(self, tensors: TensorsOfOwners, token: str) -> None:
        """Count the tensors once more."""
        with self._lock:
            new = {o: t for o, t in tensors.items() if Hold(o, token) not in self._holds}
            for owner, wanted in new.items():
                if not self._tensors.get(owner, {}).keys() >= set(wanted):
                    raise tensor_gone(owner)
            for owner, wanted in new.items():
                self._count(owner, tuple(wanted), token)

    def release(self, owners: Sequence[int], token: str) -> int:
        """Count the tensors once less, and free those that nobody holds."""
        with self._lock:
            return sum(self._release(owner, token) for owner in owners)

    def publish(self, record: ModelRecord, inherited: TensorsOfOwners) -> None:
        """Take up the record and the bytes."""
        with self._lock:
            if record.id in self._records:
                raise taken(record.id)
            self.hold(inherited, record.token)
            written = self._unpublished.pop(record.token, {})
            if written:
                self._tensors[record.id] = written
                self._count(record.id, record.by_owner[record.id], record.token)
            self._records[record.id] = record
            self._history.append(Change(record.id, record.graph.names, record.accuracy))

    def withdraw(self, model: int) -> bool:
        """Note that the model went."""
        with self._lock:
            self.record(model)
            if model in self._retired:
                return False
            self._retired[model] = None
            self._history.append(Change(model, ()))
            return not self._pins.get(model)

    def pin(self, model: int, token: str) -> None:
        """Note the pin."""
        with self._lock:
            self.record(model)
            if model in self._retired:
                raise retired(model)
            self._pins.setdefault(model, set()).add(token)

    def unpin(self, model: int, token: str) -> bool:
        """Strike the pin out."""
        with self._lock:
            pins = self._pins.get(model, set())
            if token not in pins:
                return False
            pins.discard(token)
            if pins:
                return False
            del self._pins[model]
            return model in self._retired

    def record(self, model: int) -> ModelRecord:
        """Return the record."""
        with self._lock:
            if model not in self._records:
                raise unknown(model)
            return self._records[model]

    def models(self, retired: bool = False) -> list[int]:
        """Return the ids."""
        with self._lock:
            if retired:
                return list(self._retired)
            return [model for model in self._records if model not in self._retired]

    def changes(self, since: int) -> tuple[int, list[Change]]:
        """Return the end of the list of all changes."""
        with self._lock:
            return len(self._history), self._history[since:]

    def read(self, wanted: Mapping[int, Mapping[TensorId, torch.Tensor]]) -> None:
        """Copy the tensors out."""
        pairs = []
        with self._lock:
            for owner, destinations in wanted.items():
                for key, destination in destinations.items():
                    stored = self._tensors.get(owner, {}).get(key)
                    if stored is None:
                        raise tensor_gone(owner)
                    pairs.append((destination, stored))
        with torch.no_grad():
            copy_tensors(pairs)

    def usage(self) -> Usage:
        """Count what is here."""
        with self._lock:
            sizes = [t.nbytes for owned in self._tensors.values() for t in owned.values()]
            return Usage(
                models=len(self._records) - len(self._retired),
                tensors=len(sizes),
                nbytes=sum(sizes),
                references=self._counts.total(),
            )

    def leftovers(self) -> Leftovers:
        """Return all tokens, holds and pins."""
        with self._lock:
            kept = (m for m in self._records if m not in self._retired or self._pins.get(m))
            return Leftovers(
                unpublished=tuple(self._unpublished),
                holds=tuple(self._holds),
                pins=tuple((model, pin) for model, pins in self._pins.items() for pin in pins),
                tokens=frozenset(self._records[model].token for model in kept),
            )

    def close(self) -> None:
        """Keep everything: whoever has the shard can go on."""

    def _release(self, owner: int, token: str) -> int:
        freed = 0
        for tensor in self._holds.pop(Hold(owner, token), ()):
            self._counts[owner, tensor] -= 1
            if not self._counts[owner, tensor]:
                del self._counts[owner, tensor]
                freed += self._tensors[owner].pop(tensor).nbytes
        if not self._tensors.get(owner, True):
            del self._tensors[owner]
        return freed

    def _count(self, owner: int, tensors: tuple[TensorId, ...], token: str) -> None:
        self._holds[Hold(owner, token)] = tensors
        self._counts.update((owner, tensor) for tensor in tensors)
