"""The engines that keep a layer store's records and bytes: one shard each."""

from __future__ import annotations

from bench_core.weight_transfer.stores.files import FileShard
from bench_core.weight_transfer.stores.lmdb_shard import LmdbShard
from bench_core.weight_transfer.stores.memory import MemoryShard
from bench_core.weight_transfer.stores.mpi_shard import MpiShard
from bench_core.weight_transfer.stores.redis_shard import RedisShard
from bench_core.weight_transfer.stores.shard import Change, Hold, Leftovers, Shard, Usage

__all__ = [
    "Change",
    "FileShard",
    "Hold",
    "Leftovers",
    "LmdbShard",
    "MemoryShard",
    "MpiShard",
    "RedisShard",
    "Shard",
    "Usage",
]
