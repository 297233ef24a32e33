"""What the workloads that move weights share: engines by name, and stacks of a given size."""

from __future__ import annotations

import functools
import math
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.support.common import process_folder
from benchmarks.support.loaders import redis_address
from harness.errors import RefusedError

if TYPE_CHECKING:
    import torch

    from bench_core.weight_transfer import ArchitectureGraph, LayerStore

STORE_ENGINES: Final = ("files", "lmdb", "redis", "memory")
"""What keeps a layer store's shards. In memory nothing is durable: the floor of the others."""
INPUTS: Final = 32
"""Width of the input of a stack, as in the published generator."""
MIB: Final = 1 << 20
_FLOAT_BYTES: Final = 4
_SECTOR: Final = 512


def new_folder() -> Path:
    """Return an empty folder of this process: LMDB opens a folder once a process."""
    return Path(tempfile.mkdtemp(prefix="store-", dir=process_folder()))


def open_store(engine: str, folder: Path) -> LayerStore:
    """Return a store of one shard, kept by an engine of `STORE_ENGINES`.

    Redis has a server of this process that appends to a file and syncs it at every command.

    Raises:
        RefusedError: there is no such engine.
        MissingExtraError, UnsupportedError: a library, or the server, is not installed.
    """
    from bench_core.weight_transfer.stores import opening

    if engine not in STORE_ENGINES:
        raise RefusedError(f"no engine {engine!r}, expected one of {', '.join(STORE_ENGINES)}")
    return opening.open_store([store_url(engine, folder)])


def store_url(engine: str, folder: Path) -> str:
    """Return the address of a store of one shard that is kept by an engine."""
    if engine == "memory":
        return "memory:"
    return redis_url(folder) if engine == "redis" else f"{engine}:{folder}"


def redis_url(folder: Path) -> str:
    """Return where a durable Redis server of this process keeps what belongs to a folder."""
    files = process_folder() / "redis-of-stores"
    files.mkdir(exist_ok=True)
    return f"{redis_address(files, True)}#{folder.name}"


@functools.lru_cache(maxsize=4)
def equal_stack(nbytes: int, layers: int) -> ArchitectureGraph:
    """Return ``layers`` equal dense layers behind a narrow first one, of ``nbytes`` in all.

    Of width s the parameters are ``32 s + s`` and ``layers`` times ``s^2 + s``; s is what solves
    that for the wanted size, rounded down. After the generator in the artifact of "EvoStore" (HPDC
    2024): 4 GiB in 100 layers are 3,276 wide.
    """
    from bench_core.weight_transfer import sequential
    from bench_core.weight_transfer.layers import dense

    width = stack_width(nbytes, layers)
    return sequential([dense((INPUTS,), width), *[dense((width,), width)] * layers])


def stack_width(nbytes: int, layers: int) -> int:
    """Return the largest width at which `equal_stack` has no more than ``nbytes``; 1 at least."""
    linear = INPUTS + 1 + layers
    root = math.sqrt(linear**2 + 4 * layers * nbytes / _FLOAT_BYTES)
    return max(1, int((root - linear) / (2 * layers)))


def random_model(graph: ArchitectureGraph, seed: int) -> dict[str, torch.Tensor]:
    """Return incompressible values for all tensors of an architecture, by their names."""
    from bench_core.models.random_fill import TensorShape, random_tensors

    specs = {name: TensorShape(s.shape, s.dtype) for name, s in graph.tensors().items()}
    return random_tensors(specs, seed)


def names_of(graph: ArchitectureGraph, positions: Iterable[int]) -> list[str]:
    """Return the names of the tensors of some layers."""
    return [f"{v}.{name}" for v in positions for name, _ in graph.layers[v].tensors]


def bytes_at(graph: ArchitectureGraph, positions: Iterable[int]) -> int:
    """Return the bytes of the tensors of some layers."""
    return sum(graph.layers[position].nbytes for position in positions)


def room_on_disk(folder: Path) -> int:
    """Return the bytes that the file system has given to all files below a folder."""
    return sum(path.stat().st_blocks * _SECTOR for path in folder.rglob("*") if path.is_file())
