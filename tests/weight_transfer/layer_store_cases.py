"""Layer stores of every engine, and models to put into them."""

from __future__ import annotations

import atexit
import contextlib
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from bench_core.errors import MissingExtraError, UnsupportedError
from bench_core.formats import redis_client
from bench_core.formats.redis_process import redis_server
from bench_core.weight_transfer import ArchitectureGraph, LayerStore, layers, sequential
from bench_core.weight_transfer.stores import FileShard, LmdbShard, MemoryShard, RedisShard, Shard


@functools.cache
def redis_address() -> str:
    """Of a server that all tests of this process share; without one the test is skipped."""
    server = contextlib.ExitStack()
    try:
        address = server.enter_context(redis_server())
    except (MissingExtraError, UnsupportedError) as error:
        pytest.skip(str(error))
    atexit.register(server.close)
    return address


ENGINES: dict[str, Callable[[Path], Sequence[Shard]]] = {
    "memory": lambda folder: [MemoryShard()],
    "memory of three": lambda folder: [MemoryShard() for _ in range(3)],
    "files": lambda folder: [FileShard(folder, small_bytes=0)],
    "ledger": lambda folder: [FileShard(folder)],
    "lmdb": lambda folder: [LmdbShard(folder)],
    "lmdb of two": lambda folder: [LmdbShard(folder / str(n)) for n in range(2)],
    "redis": lambda folder: [RedisShard(redis_address(), str(folder))],
    "redis of two": lambda folder: [RedisShard(redis_address(), f"{folder}/{n}") for n in range(2)],
    "files of two": lambda folder: [FileShard(folder / str(n), small_bytes=300) for n in range(2)],
}


def stores(engine: str, folder: Path) -> LayerStore:
    """An empty store of an engine."""
    return LayerStore(ENGINES[engine](folder))


def stored_bytes(engine: str, folder: Path) -> list[Path | bytes]:
    """The files, or the keys of the values, that hold tensors of an engine's store."""
    if not engine.startswith("redis"):
        return list(folder.rglob("*.safetensors"))
    with redis_client.connect(redis_address()) as client:
        return list(client.scan_iter(f"{folder}*:bytes:*"))


def graph(*widths: int) -> ArchitectureGraph:
    """A stack of dense layers over eight inputs."""
    inputs = (8, *widths)
    return sequential([layers.dense((i,), o) for i, o in zip(inputs, widths, strict=False)])


def tensors(
    architecture: ArchitectureGraph, seed: int, inherited: Sequence[int] = ()
) -> dict[str, torch.Tensor]:
    """Seeded values of all tensors but those of some layers."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(spec.shape, generator=generator, dtype=spec.dtype)
        for name, spec in architecture.tensors().items()
        if int(name.partition(".")[0]) not in inherited
    }


def equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    """Whether two state dicts are equal bit for bit."""
    return found.keys() == expected.keys() and all(
        torch.equal(found[name], expected[name]) for name in found
    )


def with_child(store: LayerStore) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Put model 1 and its child 2, which has two of its three layers; return their tensors."""
    parent, child = graph(16, 16, 4), graph(16, 16, 5)
    first = tensors(parent, seed=1)
    store.put(1, parent, first, accuracy=0.5)
    with store.pinned_prefix(child) as match:
        own = tensors(child, seed=2, inherited=(0, 1))
        store.put(2, child, own, donor=match, accuracy=0.6)
    return first, {**{k: v for k, v in first.items() if not k.startswith("2.")}, **own}
