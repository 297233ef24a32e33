"""The layer store: models that share tensors, found by their longest common prefix.

Over one shard or several: a model lies with the shard ``id mod n``, its record and the tensors that
it owns. What it inherits stays where its owners lie (Underwood et al., "EvoStore", HPDC 2024).
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

import torch

from bench_core.errors import TensorNotFoundError, nearest
from bench_core.formats.atomic import writer_mark
from bench_core.weight_transfer.errors import RetiredError
from bench_core.weight_transfer.fetches import destinations, wanted_of
from bench_core.weight_transfer.graphs import ArchitectureGraph, TensorId
from bench_core.weight_transfer.placement import Placement
from bench_core.weight_transfer.prefix import Match, Measure
from bench_core.weight_transfer.prefix_index import PrefixIndex
from bench_core.weight_transfer.puts import PutResult, check_same, new_record, own_tensors
from bench_core.weight_transfer.records import ModelRecord
from bench_core.weight_transfer.stores.shard import Shard, Usage

_RECORDS_KEPT: Final = 4096


class LayerStore:
    """A repository of models that evolve. Any number of processes may use the same shards.

    Example:
        >>> import torch
        >>> from bench_core.weight_transfer import layers, sequential
        >>> from bench_core.weight_transfer.stores.memory import MemoryShard
        >>> store = LayerStore([MemoryShard()])
        >>> graph = sequential([layers.dense((4,), 8), layers.dense((8,), 2)])
        >>> first = {name: torch.zeros(s.shape) for name, s in graph.tensors().items()}
        >>> store.put(1, graph, first, accuracy=0.5).bytes_physical
        232
        >>> child = sequential([layers.dense((4,), 8), layers.dense((8,), 3)])
        >>> with store.pinned_prefix(child) as match:
        ...     own = {"1.weight": torch.zeros(3, 8), "1.bias": torch.zeros(3)}
        ...     put = store.put(2, child, own, donor=match)
        >>> match.donor, match.positions, put.bytes_logical, put.bytes_physical
        (1, (0,), 268, 108)
    """

    def __init__(self, shards: Sequence[Shard]) -> None:
        """Use these shards, which every process must give in the same order.

        Raises:
            StoreError: there is none.
        """
        self._placement = Placement(shards)
        self.shards = self._placement.shards
        self._lock = threading.RLock()
        self._index = PrefixIndex()
        self._seen = [0] * len(shards)
        # A record never changes, so one that was read once need not be asked for again.
        self._record = functools.lru_cache(_RECORDS_KEPT)(self._asked_record)

    def put(
        self,
        model: int,
        graph: ArchitectureGraph,
        tensors: Mapping[str, torch.Tensor],
        *,
        donor: Match | None = None,
        accuracy: float | None = None,
        info: Mapping[str, Any] | None = None,
    ) -> PutResult:
        """Store a model, visible whole or not at all; only what it does not inherit travels.

        Args:
            model: its id, 0 to 2^63 - 1, never used before.
            graph: its architecture.
            tensors: by ``<position>.<name>`` those tensors that are not inherited; more is refused,
                so that nobody believes a changed tensor to be stored.
            donor: the model whose layers at ``donor.positions`` of this graph it has unchanged;
                pinned by the caller, or its retirement may come first.
            accuracy: decides between donors with equally long prefixes.
            info: what else its record shall say, as JSON.

        Raises:
            ModelExistsError: there is or was a model of this id.
            RetiredError: the donor's tensors are gone; nothing was stored.
            TensorNotFoundError, TensorMismatchError: these are not the tensors of the rest.
            UnknownModelError: there never was such a donor.
            StoreError: it could not be stored; it is not visible. What a server that does not
                answer any more has of it is removed by a sweep.
        """
        started = time.perf_counter_ns()
        given = None if donor is None else (self.record(donor.donor), donor.positions)
        record = new_record(model, graph, given, accuracy=accuracy, info=info)
        own = own_tensors(record, tensors)
        shard = self.shard(model)
        try:
            physical = shard.write(record.token, own) if own else 0
            written = time.perf_counter_ns()
            self.put_meta(record)
        except BaseException:
            with suppress(Exception):  # a server that is gone: the first error is the one to tell
                shard.discard(record.token)
            raise
        return PutResult(
            record=record,
            bytes_logical=graph.nbytes,
            bytes_physical=physical,
            data_ns=written - started,
            meta_ns=time.perf_counter_ns() - written,
        )

    def put_meta(self, record: ModelRecord) -> None:
        """Count what a model inherits, and make it visible.

        Its own bytes, if it has any, were written under its token by this object's shards.

        Raises:
            ModelExistsError, RetiredError, StoreError: as `put`.
        """
        self._placement.publish(record)

    def best_prefix(
        self,
        graph: ArchitectureGraph,
        measure: Measure = "layers",
        exclude: Collection[int] = (),
    ) -> Match | None:
        """Return the live model with the longest common prefix; None where none has a layer.

        Models in ``exclude`` are passed over. Of equal ones the more accurate, over all shards,
        then the one with the smaller id.

        Raises:
            UnknownNameError: there is no such measure.
            StoreError: a shard does not answer.
        """
        with self._lock:
            self.refresh()
            return self._index.best(graph, measure, exclude)

    @contextmanager
    def pinned_prefix(
        self, graph: ArchitectureGraph, measure: Measure = "layers"
    ) -> Iterator[Match | None]:
        """Give the best donor, whose tensors stay until the block ends, whoever retires it."""
        while (match := self.best_prefix(graph, measure)) is not None:
            try:
                pin = self.pin(match.donor)
                break
            except RetiredError:  # between the match and the pin: the next best is asked for
                continue
        try:
            yield match
        finally:
            if match is not None:
                self.unpin(match.donor, pin)

    def get(
        self,
        model: int,
        names: Sequence[str] | None = None,
        *,
        into: Mapping[str, torch.Tensor] | None = None,
    ) -> dict[str, torch.Tensor]:
        """Return tensors of a model by their names in its state dict, or fill those given.

        Grouped by owner, one request to each shard, all shards at once.

        Args:
            model: live, or retired and pinned.
            names: which; None for those of ``into``, or all.
            into: tensors that exist, by the same names.

        Raises:
            UnknownModelError: there never was such a model.
            TensorNotFoundError: it has no tensor of this name, or ``into`` has none.
            TensorMismatchError: a tensor of ``into`` has another shape or type.
            RetiredError: the model is retired and its tensors are gone.
            CorruptFileError: stored bytes are damaged.
        """
        record = self.record(model)
        if names is None:
            names = list(record.tensor_ids if into is None else into)
        specs = record.graph.tensors()
        for name in names:
            if name not in specs:
                raise TensorNotFoundError(
                    f"model {model} has no tensor {name!r}{nearest(name, specs)}"
                )
        if into is None:
            found = {n: torch.empty(specs[n].shape, dtype=specs[n].dtype) for n in names}
        else:
            found = destinations(names, into)
        check_same(model, specs, found)
        self._placement.read(
            record, {record.tensor_ids[name]: tensor for name, tensor in found.items()}
        )
        return found

    def fetch(
        self, match: Match, graph: ArchitectureGraph, into: Mapping[str, torch.Tensor]
    ) -> None:
        """Fill those tensors of a new model that it has in common with its donor.

        Args:
            match: from `pinned_prefix`.
            graph: the new model's architecture.
            into: its tensors by ``<position>.<name>``; others than the prefix's are left alone.

        Raises:
            GraphError, TensorNotFoundError, TensorMismatchError: as `wanted_of`.
            UnknownModelError, RetiredError, CorruptFileError: as `get`.
        """
        record = self.record(match.donor)
        self._placement.read(record, wanted_of(match, graph, record, into))

    def record(self, model: int) -> ModelRecord:
        """Return what is known of a model, live or retired: graph, owner map, donor, accuracy.

        Raises:
            UnknownModelError: there never was such a model.
        """
        return self._record(model)

    def owner_map(self, model: int) -> dict[TensorId, int]:
        """Return the owner of each tensor of a model."""
        return self.record(model).owner_map

    def models(self) -> list[int]:
        """Return the ids of all live models, in order."""
        return sorted(model for shard in self.shards for model in shard.models())

    def is_live(self, model: int) -> bool:
        """Whether there is a model of this id that is not retired."""
        with self._lock:
            self.refresh()
            return model in self._index

    def pin(self, model: int) -> str:
        """Keep a model's tensors until `unpin`, whoever retires it; return the pin.

        Raises:
            RetiredError: it is retired already.
            UnknownModelError: there never was such a model.
        """
        pin = writer_mark()
        self.shard(model).pin(model, pin)
        return pin

    def unpin(self, model: int, pin: str) -> None:
        """Take a pin back; the last one of a retired model frees what nobody else has."""
        if self.shard(model).unpin(model, pin):
            self._placement.release(self.record(model))

    def retire(self, model: int) -> int:
        """Make a model invisible and free what no other has; return the freed bytes.

        Its record stays, for the lineage. To retire it again is no error and frees nothing. What
        a pin keeps is freed when that is taken back.

        Raises:
            UnknownModelError: there never was such a model.
        """
        if not self.shard(model).withdraw(model):
            return 0
        return self._placement.release(self.record(model))

    def usage(self) -> Usage:
        """Return what all shards hold together."""
        all_ = [shard.usage() for shard in self.shards]
        return Usage(
            models=sum(one.models for one in all_),
            tensors=sum(one.tensors for one in all_),
            nbytes=sum(one.nbytes for one in all_),
            references=sum(one.references for one in all_),
        )

    def shard(self, model: int) -> Shard:
        """Return the shard of a model: static placement, id mod n."""
        return self._placement.shard(model)

    def refresh(self) -> None:
        """Bring the index up to what all processes have published and retired."""
        with self._lock:
            for number, shard in enumerate(self.shards):
                self._seen[number], changes = shard.changes(self._seen[number])
                for change in changes:
                    if change.is_retirement:
                        self._index.remove(change.model)
                    else:
                        self._index.add(change.model, change.names, change.accuracy)

    def close(self) -> None:
        """Let go of all shards."""
        self._placement.close()

    def __enter__(self) -> LayerStore:
        """Return the store, to be closed at the end of the block."""
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _asked_record(self, model: int) -> ModelRecord:
        return self.shard(model).record(model)
