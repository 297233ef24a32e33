"""Layer stores of every engine, and models to put into them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from bench_core.weight_transfer import ArchitectureGraph, LayerStore, layers, sequential
from bench_core.weight_transfer.stores import FileShard, LmdbShard, MemoryShard, Shard

ENGINES: dict[str, Callable[[Path], Sequence[Shard]]] = {
    "memory": lambda folder: [MemoryShard()],
    "memory of three": lambda folder: [MemoryShard() for _ in range(3)],
    "files": lambda folder: [FileShard(folder)],
    "lmdb": lambda folder: [LmdbShard(folder)],
    "lmdb of two": lambda folder: [LmdbShard(folder / str(n)) for n in range(2)],
    "files of two": lambda folder: [FileShard(folder / str(n)) for n in range(2)],
}


def stores(engine: str, folder: Path) -> LayerStore:
    """An empty store of an engine."""
    return LayerStore(ENGINES[engine](folder))


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
