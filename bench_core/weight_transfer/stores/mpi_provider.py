"""An MPI rank that keeps a shard and answers the calls of any number of client ranks."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any, Final

import numpy as np
import torch

from bench_core.errors import BenchCoreError
from bench_core.formats.atomic import writer_mark
from bench_core.optional import require
from bench_core.weight_transfer.errors import StoreError
from bench_core.weight_transfer.graphs import TensorId
from bench_core.weight_transfer.prefix_index import PrefixIndex
from bench_core.weight_transfer.prefix_query import PrefixQuery, RankedMatch
from bench_core.weight_transfer.records import ModelRecord
from bench_core.weight_transfer.stores.memory import MemoryShard
from bench_core.weight_transfer.stores.mpi_messages import (
    FAREWELL_SECONDS,
    LONGEST_SLEEP,
    REQUEST,
    Bytes,
    Patience,
    ProviderInfo,
    Receiving,
    Reply,
    Request,
    as_tensor,
    failed,
    laid_out,
    post_sends,
    room_for,
    tag_of,
    tags,
    wait_for,
)
from bench_core.weight_transfer.stores.shard import Shard, TensorsOfOwners

MakeShard = Callable[[int], Shard]
"""Opens the shard of the provider of a number."""

_PASSED_ON: Final = frozenset(
    {
        "discard",
        "hold",
        "release",
        "withdraw",
        "pin",
        "unpin",
        "models",
        "changes",
        "usage",
        "leftovers",
    }
)
_KEPT: Final = 2
_NOTHING: Final = np.empty(0, np.uint8)


def in_memory(number: int) -> Shard:
    """Return an empty shard in memory."""
    return MemoryShard()


def serve(
    comm: Any,
    make_shard: MakeShard,
    clients: int,
    number: int = 0,
    longest_sleep: float = LONGEST_SLEEP,
) -> None:
    """Keep a shard and answer all calls, one after the other, until nobody will call any more.

    An error of the shard is raised at the client that called, and the next call is answered. Where
    the shard can't be opened all calls raise why.

    Args:
        comm: connects with the clients, and is used for nothing else.
        make_shard: opens the shard, and is given ``number``.
        clients: how many ranks will say goodbye.
        number: which of the providers this is.
        longest_sleep: seconds; see `Patience`.
    """
    _Provider(comm, make_shard, number, longest_sleep).run(clients)


class _Memory:
    """Pieces of memory that are used again: new ones are slow, page by page."""

    def __init__(self) -> None:
        self._free: list[Bytes] = []

    def take(self, nbytes: int) -> Bytes:
        """Return a piece of at least so many bytes."""
        for place, piece in enumerate(self._free):
            if len(piece) >= nbytes:
                return self._free.pop(place)
        return np.empty(nbytes, np.uint8)

    def give(self, piece: Bytes) -> None:
        """Take a piece back; the largest are kept, in rising order."""
        self._free = sorted([*self._free, piece], key=len)[-_KEPT:]


class _Provider:
    def __init__(self, comm: Any, make_shard: MakeShard, number: int, longest_sleep: float) -> None:
        self._mpi: Any = require("mpi4py.MPI", "mpi")
        self._comm = comm
        self._where = f"provider {number}"
        self._longest_sleep = longest_sleep
        self._tags = tags(self._mpi)
        self._memory = _Memory()
        self._index = PrefixIndex()
        self._seen = 0
        self._leaving: list[tuple[list[Any], Bytes]] = []
        """Replies on their way, and the memory that they come from."""
        try:
            self._shard: Shard = make_shard(number)
            self._refusal: Exception | None = None
        except Exception as error:
            self._refusal = error
        self._own: dict[str, Callable[..., Any]] = {
            "hello": self._hello,
            "publish": self._publish,
            "record": self._record,
            "best_prefix": self._best_prefix,
            "stop": self._stop,
        }

    def run(self, clients: int) -> None:
        """Answer until so many clients have said goodbye."""
        gone: set[int] = set()
        patience = Patience(self._longest_sleep)
        status = self._mpi.Status()
        while len(gone) < clients:
            self._clear()
            message = self._comm.improbe(self._mpi.ANY_SOURCE, REQUEST, status)
            if message is None:
                patience.wait()
                continue
            patience.reset()
            source, request = status.Get_source(), message.recv()
            if request.call == "goodbye":
                gone.add(source)
            else:
                self._answer(source, request)
        with suppress(StoreError):  # a client that was interrupted, and is gone
            wait_for(self._clear, self._longest_sleep, FAREWELL_SECONDS)
        self._stop()

    def _answer(self, source: int, request: Request) -> None:
        memory = _NOTHING
        try:
            if request.tensors:
                memory = self._memory.take(room_for(request.tensors))
            places = laid_out(request.tensors, memory)
            if request.call == "write":
                # Whatever is wrong, the bytes are on their way and should arrive.
                self._receive(source, request.number, places)
            value = self._value(request, places)
        except Exception as error:
            if not isinstance(error, BenchCoreError):
                traceback.print_exc()
            self._reply(source, failed(request.number, error, self._where), memory)
            return
        reads = places if request.call == "read" else []
        self._reply(source, Reply(request.number, value), memory, reads)

    def _value(self, request: Request, places: Sequence[Bytes]) -> Any:
        if self._refusal is not None:
            raise self._refusal.with_traceback(None)
        if request.call == "write":
            given = {
                one.key: as_tensor(one, place)
                for one, place in zip(request.tensors, places, strict=True)
            }
            (token,) = request.arguments
            return self._shard.write(token, given)
        if request.call == "read":
            wanted: dict[int, dict[TensorId, torch.Tensor]] = {}
            for one, place in zip(request.tensors, places, strict=True):
                wanted.setdefault(one.owner, {})[one.key] = as_tensor(one, place)
            return self._shard.read(wanted)
        if request.call in _PASSED_ON:
            return getattr(self._shard, request.call)(*request.arguments)
        return self._own[request.call](*request.arguments)

    def _hello(self) -> ProviderInfo:
        return ProviderInfo(writer_mark(), self._mpi.Query_thread())

    def _publish(self, data: bytes, inherited: TensorsOfOwners) -> None:
        self._shard.publish(ModelRecord.decode(data), inherited)

    def _record(self, model: int) -> bytes:
        return self._shard.record(model).encode()

    def _best_prefix(self, query: bytes, exclude: Collection[int]) -> RankedMatch | None:
        """Answer from the index, brought up to what all processes did with this shard."""
        self._seen, changes = self._shard.changes(self._seen)
        for change in changes:
            if change.is_retirement:
                self._index.remove(change.model)
            else:
                self._index.add(change.model, change.names, change.accuracy)
        return self._index.answer(PrefixQuery.decode(query), exclude)

    def _stop(self) -> None:
        """Let go of the shard; who still calls is told so, and waits for nothing."""
        if self._refusal is None:
            self._refusal = StoreError(f"{self._where} was told to stop")
            self._shard.close()

    def _receive(self, source: int, number: int, arrays: Sequence[Bytes]) -> None:
        receiving = Receiving(self._comm, arrays, source, tag_of(number, self._tags))
        wait_for(lambda: self._mpi.Request.Testall(receiving.requests), self._longest_sleep)
        receiving.finish()

    def _reply(
        self, source: int, reply: Reply, memory: Bytes, arrays: Sequence[Bytes] = ()
    ) -> None:
        """Start to send; the next call need not wait until a slow client has taken it."""
        tag = tag_of(reply.number, self._tags)
        requests = [self._comm.isend(reply, source, tag)]
        requests += post_sends(self._comm, arrays, source, tag)
        self._leaving.append((requests, memory))

    def _clear(self) -> bool:
        """Take back the memory of replies that are gone; return whether all are."""
        left = []
        for requests, memory in self._leaving:
            if not self._mpi.Request.Testall(requests):
                left.append((requests, memory))
            elif len(memory):
                self._memory.give(memory)
        self._leaving = left
        return not left
