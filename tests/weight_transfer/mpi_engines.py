"""A pytest plugin: the layer store's own tests run over MPI providers, in a process of their own.

``python -m pytest -p mpi_engines test_layer_store.py``. Not in the process of the whole suite: MPI
leaves variables in the environment with which no ``mpiexec`` starts any more.
"""

from __future__ import annotations

import functools
from pathlib import Path

import layer_store_cases

from bench_core.weight_transfer.stores import MpiShard
from bench_core.weight_transfer.stores.mpi_provider import in_memory
from bench_core.weight_transfer.stores.mpi_worlds import Providers, in_files

COUNTS = {"mpi": 1, "mpi of two": 2}


@functools.cache
def providers(count: int) -> Providers:
    """Processes that all tests share: each takes as long to start as torch to import."""
    return Providers(count)


def shards(count: int, folder: Path) -> list[MpiShard]:
    """Empty shards in the providers' memory."""
    return providers(count).open(in_memory)


def file_shards(count: int, folder: Path) -> list[MpiShard]:
    """Shards of files."""
    return providers(count).open(functools.partial(in_files, folder))


layer_store_cases.ENGINES.clear()
for name, count in COUNTS.items():
    layer_store_cases.ENGINES[name] = functools.partial(shards, count)
layer_store_cases.ENGINES["mpi with files"] = functools.partial(file_shards, 1)
