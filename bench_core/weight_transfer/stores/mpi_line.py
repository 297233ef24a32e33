"""The client's side of MPI: requests to providers, and the answers that belong to them."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from bench_core.optional import require
from bench_core.weight_transfer.errors import StoreError
from bench_core.weight_transfer.stores.mpi_messages import (
    FAREWELL_SECONDS,
    LONGEST_SLEEP,
    REQUEST,
    Bytes,
    Described,
    Receiving,
    Reply,
    Request,
    post_sends,
    tag_of,
    tags,
    wait_for,
)

T = TypeVar("T")


@dataclass
class Call:
    """A request under way, and the memory that it must not lose."""

    rank: int
    number: int
    tag: int
    arrays: Sequence[Bytes]
    """To be filled, if the call succeeds."""
    sends: list[Any]
    reply: Reply | None = None
    receiving: Receiving | None = None


class Line:
    """The side of a process on a communicator with providers.

    Any number of threads may call at once where MPI gives ``MPI_THREAD_SERIALIZED`` or more: no
    call waits inside MPI, and one lock is held around each. Where it gives less, only the main
    thread may.
    """

    def __init__(
        self,
        comm: Any,
        *,
        longest_sleep: float = LONGEST_SLEEP,
        seconds: float | None = 600.0,
        at_end: Callable[[], None] | None = None,
    ) -> None:
        """Use a communicator, for nothing else and once in a process.

        Args:
            comm: with the providers, or to them.
            longest_sleep: seconds between two looks for an answer that takes long.
            seconds: after which an answer is given up; None: never.
            at_end: is called when the last shard of this line was closed.
        """
        self._mpi: Any = require("mpi4py.MPI", "mpi")
        self._comm = comm
        self._longest_sleep = longest_sleep
        self._seconds = seconds
        self._at_end = at_end
        self._pid = os.getpid()
        self._serialized = self._mpi.Query_thread() >= self._mpi.THREAD_SERIALIZED
        self._tags = tags(self._mpi)
        self._numbers = itertools.count()
        self._lock = threading.RLock()
        self._unfinished: list[Call] = []
        self._untaken: list[Call] = []
        self._users = 0

    def start(
        self,
        rank: int,
        name: str,
        *arguments: Any,
        tensors: Sequence[Described] = (),
        given: Sequence[Bytes] = (),
        into: Sequence[Bytes] = (),
    ) -> Call:
        """Send a request; its bytes first, so that whoever sees it finds them on their way.

        Raises:
            StoreError: MPI allows this thread no call.
        """
        self._check_thread()
        self._tidy(rank, self._seconds)
        with self._lock:
            number = next(self._numbers)
            tag = tag_of(number, self._tags)
            call = Call(rank, number, tag, into, post_sends(self._comm, given, rank, tag))
            request = Request(number, name, arguments, tuple(tensors))
            call.sends.append(self._comm.isend(request, rank, REQUEST))
        return call

    def finish(self, call: Call) -> Any:
        """Return what a call returned, its arrays filled, or raise what it raised.

        Raises:
            StoreError: no answer came.
        """
        self._attempt(call, self._seconds)
        if call.reply is None:
            raise StoreError(f"provider {call.rank} has not answered")
        return call.reply.result()

    def join(self) -> None:
        """Count one more shard that uses this line."""
        self._users += 1

    def leave(self, rank: int) -> None:
        """Say goodbye to a provider, once for each `join`."""
        if os.getpid() != self._pid or self._mpi.Is_finalized():
            return
        with suppress(StoreError):
            self._tidy(rank, min(FAREWELL_SECONDS, self._seconds or FAREWELL_SECONDS))
        with self._lock:
            self._comm.isend(Request(next(self._numbers), "goodbye", ()), rank, REQUEST).wait()
            self._users -= 1
            if not self._users and self._at_end is not None:
                self._at_end()

    def _attempt(self, call: Call, seconds: float | None) -> None:
        """Wait for all that belongs to a call; where that fails, keep its memory."""
        try:
            self._collect(call, seconds)
        except BaseException:
            with self._lock:
                self._unfinished.append(call)
            raise

    def _collect(self, call: Call, seconds: float | None) -> None:
        reply = call.reply or self._wait(lambda: self._reply(call), seconds)
        call.reply = reply
        if reply.error is not None:
            with self._lock:  # bytes that a provider had no room for are never taken
                if not self._mpi.Request.Testall(call.sends):
                    self._untaken.append(call)
            return
        if call.arrays:
            if call.receiving is None:
                with self._lock:
                    call.receiving = Receiving(self._comm, call.arrays, call.rank, call.tag)
            requests = call.receiving.requests
            self._wait(lambda: self._mpi.Request.Testall(requests), seconds)
            call.receiving.finish()
        self._wait(lambda: self._mpi.Request.Testall(call.sends), seconds)

    def _reply(self, call: Call) -> Reply | None:
        message = self._comm.improbe(call.rank, call.tag)
        if message is None:
            return None
        reply: Reply = message.recv()
        if reply.number != call.number:
            raise StoreError(f"a reply to request {reply.number}, expected one to {call.number}")
        return reply

    def _wait(self, look: Callable[[], T | None], seconds: float | None) -> T:
        def locked() -> T | None:
            with self._lock:
                return look()

        return wait_for(locked, self._longest_sleep, seconds)

    def _tidy(self, rank: int, seconds: float | None) -> None:
        """Take what came too late for those who were interrupted, out of everybody's way."""
        with self._lock:
            late = [call for call in self._unfinished if call.rank == rank]
            self._unfinished = [call for call in self._unfinished if call.rank != rank]
        for call in late:
            if call.receiving is None:
                call.arrays = [np.empty_like(array) for array in call.arrays]
            self._attempt(call, seconds)

    def _check_thread(self) -> None:
        if not self._serialized and not self._mpi.Is_thread_main():
            raise StoreError(
                "MPI was started for one thread and this is another; "
                "start it with MPI_THREAD_SERIALIZED, or use one provider"
            )
