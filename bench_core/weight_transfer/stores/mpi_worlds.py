"""How clients and providers of an MPI store come together: one world that is split, or a spawn.

Under ``mpiexec -n 6 python program.py``::

    world = split_world(providers=2)
    if world.shards:  # this rank is one of four clients; the providers are done when these are
        with LayerStore(world.shards) as store:
            ...

Without ``mpiexec``::

    with LayerStore(spawn_providers(2)) as store:
        ...
"""

from __future__ import annotations

import functools
import os
import socket
import sys
import weakref
from collections.abc import Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench_core.formats.atomic import is_dead
from bench_core.optional import require
from bench_core.weight_transfer.errors import StoreError
from bench_core.weight_transfer.stores.files import FileShard
from bench_core.weight_transfer.stores.mpi_line import Line
from bench_core.weight_transfer.stores.mpi_messages import (
    FAREWELL_SECONDS,
    LONGEST_SLEEP,
    ORDER,
    wait_for,
)
from bench_core.weight_transfer.stores.mpi_provider import MakeShard, in_memory, serve
from bench_core.weight_transfer.stores.mpi_shard import MpiShard
from bench_core.weight_transfer.stores.shard import Shard

_MODULE = "bench_core.weight_transfer.stores.mpi_spawned"


@dataclass(frozen=True)
class World:
    """What a rank of a split world has."""

    shards: tuple[MpiShard, ...]
    """One for each provider, in one order everywhere; none where this rank was a provider."""
    peers: Any
    """A communicator of all clients, or of all providers."""


def split_world(
    providers: int,
    make_shard: MakeShard = in_memory,
    *,
    comm: Any = None,
    longest_sleep: float = LONGEST_SLEEP,
) -> World:
    """Make the last ranks providers; on these return when all clients have closed their shards.

    All ranks call it. Rank 0 is a client.

    Args:
        providers: how many; ``make_shard`` is given 0, 1, … there.
        make_shard: opens a provider's shard.
        comm: to be split; None: ``MPI.COMM_WORLD``.
        longest_sleep: seconds; see `mpi_messages.Patience`.

    Raises:
        StoreError: there are not more ranks than providers, or no provider.
        MissingExtraError: mpi4py is not installed.
    """
    comm = require("mpi4py.MPI", "mpi").COMM_WORLD if comm is None else comm
    size, rank = comm.Get_size(), comm.Get_rank()
    clients = size - providers
    if not 0 < providers < size:
        raise StoreError(f"{providers} providers of {size} ranks, expected 1 to {size - 1}")
    number = rank - clients
    peers = comm.Split(number >= 0, rank)
    own = comm.Dup()  # so that no message of the program is taken for one of the store
    if number >= 0:
        serve(own, make_shard, clients, number, longest_sleep)
        return World((), peers)
    line = Line(own, longest_sleep=longest_sleep)
    return World(tuple(MpiShard(line, clients + n) for n in range(providers)), peers)


class Providers:
    """Spawned provider processes, for this process alone. They keep one shard after the other."""

    def __init__(self, count: int, longest_sleep: float = LONGEST_SLEEP) -> None:
        """Start them: about as long as it takes to import torch.

        Raises:
            StoreError: MPI cannot start processes.
            MissingExtraError: mpi4py is not installed.
        """
        mpi: Any = require("mpi4py.MPI", "mpi")
        self._longest_sleep = longest_sleep
        self._is_open = self._is_last = False
        # More processes than cores are fine: they sleep when they have nothing to do.
        info = mpi.Info.Create({"map_by": ":oversubscribe"})
        try:
            self._comm = mpi.COMM_SELF.Spawn(sys.executable, ["-m", _MODULE], count, info)
        except mpi.Exception as error:
            raise StoreError(f"MPI cannot start {count} providers: {error}") from error
        finally:
            info.Free()
        # One for all shards, one after the other: so no number is given to two requests.
        self._line = Line(self._comm, longest_sleep=longest_sleep, at_end=self._closed)
        self._marks: set[str] = set()
        self._end = weakref.finalize(self, _end, mpi, self._comm, os.getpid(), self._marks)

    def open(self, make_shard: MakeShard = in_memory, *, last: bool = False) -> list[MpiShard]:
        """Open a shard with each; those opened before must be closed.

        Args:
            make_shard: of a module that the providers can import.
            last: end the processes when these shards are closed.

        Raises:
            StoreError: as ``make_shard``; or the last shards are still open.
        """
        if self._is_open or not self._end.alive:
            raise StoreError("close the providers' shards before you open others")
        for rank in range(self._comm.Get_remote_size()):
            self._comm.send((make_shard, self._longest_sleep), rank, ORDER)
        self._is_open, self._is_last = True, last
        shards = [MpiShard(self._line, rank) for rank in range(self._comm.Get_remote_size())]
        try:
            self._marks |= {shard.hello().mark for shard in shards}
        except BaseException:
            for shard in shards:
                shard.close()
            raise
        return shards

    def close(self) -> None:
        """End the processes, and return when they have ended, if they are of this host.

        Raises:
            StoreError: their shards are not closed.
        """
        if self._is_open:
            raise StoreError("close the providers' shards before you end them")
        self._end()

    def _closed(self) -> None:
        self._is_open = False
        if self._is_last:
            self.close()


def spawn_providers(
    count: int, folder: Path | None = None, make_shard: MakeShard | None = None
) -> list[MpiShard]:
    """Start provider processes that end when their shards are closed, at the latest with this one.

    Args:
        count: how many.
        folder: keeps their shards as files, one folder each, to be opened again by as many; None:
            they are in memory.
        make_shard: opens a shard, where it shall be another; of a module that they can import.

    Raises:
        StoreError: MPI cannot start processes, or a shard cannot be opened.
        MissingExtraError: mpi4py is not installed.
    """
    if make_shard is None:
        make_shard = in_memory if folder is None else functools.partial(in_files, folder)
    return Providers(count).open(make_shard, last=True)


def in_files(folder: Path, number: int) -> Shard:
    """Return the shard of files of a provider."""
    return FileShard(folder / str(number))


def _end(mpi: Any, comm: Any, pid: int, marks: Set[str]) -> None:
    if mpi.Is_finalized() or os.getpid() != pid:  # a fork must not speak for its parent
        return
    for rank in range(comm.Get_remote_size()):
        comm.send(None, rank, ORDER)
    comm.Disconnect()
    here = [mark for mark in marks if mark.startswith(f"{socket.gethostname()}.")]
    # MPI's daemon has been seen to hang when this process and those ended at the same time.
    with suppress(StoreError):
        wait_for(lambda: all(map(is_dead, here)), LONGEST_SLEEP, FAREWELL_SECONDS)
