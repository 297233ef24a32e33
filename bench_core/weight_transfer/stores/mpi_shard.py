"""A shard that another MPI rank keeps, and one question to all such ranks at once."""

from __future__ import annotations

import weakref
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch

from bench_core.formats.dtypes import byte_view, on_host
from bench_core.weight_transfer.errors import StoreError
from bench_core.weight_transfer.graphs import ArchitectureGraph, TensorId
from bench_core.weight_transfer.prefix import Match, Measure
from bench_core.weight_transfer.prefix_query import PrefixQuery, RankedMatch, best_of
from bench_core.weight_transfer.records import ModelRecord
from bench_core.weight_transfer.stores.mpi_line import Call, Line
from bench_core.weight_transfer.stores.mpi_messages import Described, ProviderInfo
from bench_core.weight_transfer.stores.shard import (
    Change,
    Leftovers,
    Shard,
    TensorsOfOwners,
    Usage,
)


class MpiShard(Shard):
    """The shard of one provider, see `mpi_worlds` for how to come by one.

    One for each provider and client rank: to close it says goodbye to the provider, for the whole
    rank. Who forgets that says it at the end of the process.
    """

    def __init__(self, line: Line, rank: int) -> None:
        """Call the provider of this rank."""
        self._line = line
        self._rank = rank
        line.join()
        self._goodbye = weakref.finalize(self, line.leave, rank)

    def write(self, token: str, tensors: Mapping[TensorId, torch.Tensor]) -> int:
        """Send the values straight from the tensors' memory."""
        hosts = {key: on_host(tensor) for key, tensor in tensors.items()}
        described = [Described.of(0, key, tensor) for key, tensor in hosts.items()]
        given = [byte_view(tensor) for tensor in hosts.values()]
        nbytes: int = self._ask("write", token, tensors=described, given=given)
        return nbytes

    def discard(self, token: str) -> None:
        """Ask for it."""
        self._ask("discard", token)

    def hold(self, tensors: TensorsOfOwners, token: str) -> None:
        """Ask for it."""
        self._ask("hold", _plain(tensors), token)

    def release(self, owners: Sequence[int], token: str) -> int:
        """Ask for it."""
        freed: int = self._ask("release", tuple(owners), token)
        return freed

    def publish(self, record: ModelRecord, inherited: TensorsOfOwners) -> None:
        """Send the record."""
        self._ask("publish", record.encode(), _plain(inherited))

    def withdraw(self, model: int) -> bool:
        """Ask for it."""
        return bool(self._ask("withdraw", model))

    def pin(self, model: int, token: str) -> None:
        """Ask for it."""
        self._ask("pin", model, token)

    def unpin(self, model: int, token: str) -> bool:
        """Ask for it."""
        return bool(self._ask("unpin", model, token))

    def record(self, model: int) -> ModelRecord:
        """Ask for it."""
        return ModelRecord.decode(self._ask("record", model))

    def models(self, retired: bool = False) -> list[int]:
        """Ask for them."""
        return list(self._ask("models", retired))

    def changes(self, since: int) -> tuple[int, list[Change]]:
        """Ask for them."""
        end, changes = self._ask("changes", since)
        return end, changes

    def read(self, wanted: Mapping[int, Mapping[TensorId, torch.Tensor]]) -> None:
        """Receive the values straight into the tensors' memory, where that is in one piece."""
        described, pairs = [], []
        for owner, destinations in wanted.items():
            for key, destination in destinations.items():
                described.append(Described.of(owner, key, destination))
                pairs.append((destination, _landing(destination)))
        into = [byte_view(landing) for _, landing in pairs]
        self._ask("read", tensors=described, into=into)
        with torch.no_grad():
            for destination, landing in pairs:
                if landing.data_ptr() != destination.data_ptr():
                    destination.copy_(landing)

    def best_prefix(
        self, graph: ArchitectureGraph, measure: Measure = "layers", exclude: Collection[int] = ()
    ) -> RankedMatch | None:
        """Return the best donor among this provider's models: it has an index of them."""
        return best_of(_all_best([self], PrefixQuery.of(graph, measure), exclude))

    def usage(self) -> Usage:
        """Ask for it."""
        usage: Usage = self._ask("usage")
        return usage

    def leftovers(self) -> Leftovers:
        """Ask for them."""
        leftovers: Leftovers = self._ask("leftovers")
        return leftovers

    def hello(self) -> ProviderInfo:
        """Return who answers.

        Raises:
            StoreError: the provider could not open its shard, or does not answer.
        """
        info: ProviderInfo = self._ask("hello")
        return info

    def stop(self) -> None:
        """Close the provider's shard for all clients: whatever anybody asks from now on fails.

        The provider still ends when all have said goodbye.
        """
        self._ask("stop")

    def close(self) -> None:
        """Say goodbye: the provider ends when all its clients have."""
        self._goodbye()

    def _start(self, name: str, *arguments: Any, **tensors: Any) -> Call:
        if not self._goodbye.alive:
            raise StoreError(f"the shard of provider {self._rank} is closed")
        return self._line.start(self._rank, name, *arguments, **tensors)

    def _ask(self, name: str, *arguments: Any, **tensors: Any) -> Any:
        return self._line.finish(self._start(name, *arguments, **tensors))


def broadcast_best_prefix(
    shards: Sequence[MpiShard],
    graph: ArchitectureGraph,
    measure: Measure = "layers",
    exclude: Collection[int] = (),
) -> Match | None:
    """Ask all providers at once; return the same as `LayerStore.best_prefix` of these shards.

    Each answers from its own index, and the longest prefix wins, then the more accurate donor, then
    the smaller id. Nothing is kept here, so a client that asks seldom need not follow all changes.

    Raises:
        UnknownNameError: there is no such measure.
        StoreError: a provider does not answer.
    """
    found = best_of(_all_best(shards, PrefixQuery.of(graph, measure), exclude))
    return None if found is None else found.match


def _all_best(
    shards: Sequence[MpiShard], query: PrefixQuery, exclude: Collection[int]
) -> list[RankedMatch | None]:
    data = query.encode()
    calls = [(shard, shard._start("best_prefix", data, tuple(exclude))) for shard in shards]
    return [shard._line.finish(call) for shard, call in calls]


def _plain(tensors: TensorsOfOwners) -> TensorsOfOwners:
    return {owner: tuple(ids) for owner, ids in tensors.items()}


def _landing(destination: torch.Tensor) -> torch.Tensor:
    """Return where bytes can be received: the tensor itself, or one like it on the host."""
    tensor = destination.detach()
    if tensor.is_cpu and tensor.is_contiguous() and not (tensor.is_neg() or tensor.is_conj()):
        return tensor
    return torch.empty(tensor.shape, dtype=tensor.dtype)
