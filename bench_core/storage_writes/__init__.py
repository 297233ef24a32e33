"""How a model is written: in one call, in the background, by several processes, to memory.

`save` is what to call. The rest measures: `write_wallclock` parallel writes with every phase
stamped, `memory_target` the same without storage, `AsyncSaver` the time that training stands
still, `save_load_roundtrip` a format's whole way there and back.

Writes of only what has changed are those of stores: `bench_core.snapshots.SnapshotStore` writes
each block of a set of models once, `bench_core.weight_transfer.LayerStore` no tensor that a model
inherits.
"""

from bench_core.storage_writes.async_save import AsyncSaver, save_async
from bench_core.storage_writes.background import AsyncTimes, BackgroundWriter, PendingSave
from bench_core.storage_writes.concurrent import ConcurrentWrite, write_concurrently
from bench_core.storage_writes.dcp_async import DcpAsyncSaver
from bench_core.storage_writes.round_trip import RoundTrip, save_load_roundtrip, with_adam_state
from bench_core.storage_writes.staging import Staging
from bench_core.storage_writes.task_times import (
    Decomposition,
    TaskTimes,
    WallclockSummary,
    decompose,
    summarise,
)
from bench_core.storage_writes.to_memory import MemoryTarget, memory_target, memory_targets
from bench_core.storage_writes.wallclock import write_wallclock
from bench_core.storage_writes.whole import save, save_each_tensor

__all__ = [
    "AsyncSaver",
    "AsyncTimes",
    "BackgroundWriter",
    "ConcurrentWrite",
    "DcpAsyncSaver",
    "Decomposition",
    "MemoryTarget",
    "PendingSave",
    "RoundTrip",
    "Staging",
    "TaskTimes",
    "WallclockSummary",
    "decompose",
    "memory_target",
    "memory_targets",
    "save",
    "save_async",
    "save_each_tensor",
    "save_load_roundtrip",
    "summarise",
    "with_adam_state",
    "write_concurrently",
    "write_wallclock",
]
