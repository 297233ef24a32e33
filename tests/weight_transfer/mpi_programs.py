"""Programs of several MPI ranks; ``mpiexec python -m mpi4py mpi_programs.py NAME`` runs one.

``-m mpi4py``: an assertion that fails in one rank ends all.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from layer_store_cases import equal, graph, tensors

from bench_core.errors import UnknownNameError
from bench_core.weight_transfer import (
    LayerStore,
    ModelExistsError,
    PrefixIndex,
    StoreError,
)
from bench_core.weight_transfer.stores import Shard
from bench_core.weight_transfer.stores.mpi_collective import best_prefix_collective
from bench_core.weight_transfer.stores.mpi_worlds import in_files, spawn_providers, split_world

CHANGING = ("write", "hold", "publish", "withdraw", "release", "pin", "unpin")


def new_model() -> tuple[Any, dict[str, torch.Tensor]]:
    """What the dying client puts."""
    new = graph(16, 16, 6)
    return new, tensors(new, 4, (0, 1))


def dying(folder: str, providers: str, step: str) -> None:
    """Put and retire models; the client is killed before the n-th call that changes something."""
    world = split_world(int(providers), functools.partial(in_files, Path(folder)))
    if not world.shards:
        return
    countdown = [int(step)]
    for shard in world.shards:
        _kill_at(shard, countdown)
    with LayerStore(world.shards) as store:
        new, own = new_model()
        with store.pinned_prefix(new) as match:
            store.put(4, new, own, donor=match)
        store.retire(1)
        store.retire(4)


def _kill_at(shard: Shard, countdown: list[int]) -> None:
    def wrapped(call: Callable[..., Any]) -> Callable[..., Any]:
        def die_or_call(*arguments: Any) -> Any:
            if not countdown[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            countdown[0] -= 1
            return call(*arguments)

        return die_or_call

    for name in CHANGING:
        setattr(shard, name, wrapped(getattr(shard, name)))


def writers() -> None:
    """All clients put a model of one id: one wins, and it is stored as that one gave it."""
    world = split_world(1)
    if not world.shards:
        return
    rank = world.peers.Get_rank()
    with LayerStore(world.shards) as store:
        for model in range(20):
            own = graph(16, 4 + rank)
            given = tensors(own, seed=rank)
            world.peers.Barrier()
            try:
                store.put(model, own, given, accuracy=rank)
                has_won = True
            except ModelExistsError:
                has_won = False
            winners = [n for n, won in enumerate(world.peers.allgather(has_won)) if won]
            assert len(winners) == 1, winners
            won = graph(16, 4 + winners[0])
            assert equal(store.get(model), tensors(won, seed=winners[0]))
            match = store.best_prefix(own)
            assert match is not None and match.score >= 1
        assert store.usage().models == 20
        assert all(shard.leftovers().unpublished == () for shard in store.shards)
        world.peers.Barrier()


def collective() -> None:
    """What all ranks find together is what one index of all models finds."""
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    rng = np.random.default_rng(0)
    whole, own = PrefixIndex(), PrefixIndex()
    for model in range(200):
        names = graph(*rng.choice([4, 6], size=rng.integers(1, 6)).tolist()).names
        accuracy = (None, -1.0, -0.0, 0.0, 0.5, float("nan"))[rng.integers(6)]
        whole.add(model, names, accuracy)
        if model % comm.Get_size() == comm.Get_rank():
            own.add(model, names, accuracy)
    for number in range(200):
        root = number % comm.Get_size()
        child = graph(*rng.choice([4, 6, 8], size=rng.integers(1, 7)).tolist())
        measure = ("layers", "bytes", "flops")[number % 3]
        asked = child if comm.Get_rank() == root else None
        expected = whole.best(child, measure)  # type: ignore[arg-type]
        assert best_prefix_collective(comm, own, asked, measure, root) == expected  # type: ignore[arg-type]
    for asked, measure, error in ((child, "byts", UnknownNameError), (None, "bytes", StoreError)):
        try:
            best_prefix_collective(comm, own, asked, measure)  # type: ignore[arg-type]
        except error:
            continue
        raise AssertionError(f"no {error} on rank {comm.Get_rank()}")
    assert best_prefix_collective(comm, own, child) == whole.best(child)
    assert best_prefix_collective(comm, PrefixIndex(), child) is None


def forgetful() -> None:
    """No client closes its shards, and one ends with an exception; nobody waits for ever."""
    world = split_world(1)
    for shard in world.shards:
        shard.usage()
    if world.shards and world.peers.Get_rank() == 1:
        raise SystemExit(3)


def orphans() -> None:
    """Spawn providers, tell their marks, and be killed."""
    shards = spawn_providers(2)
    print(*(shard.hello().mark for shard in shards), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


PROGRAMS: dict[str, Callable[..., None]] = {
    "dying": dying,
    "writers": writers,
    "collective": collective,
    "forgetful": forgetful,
    "orphans": orphans,
}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](*sys.argv[2:])
