"""A trained model handed from the process that produces it to one that uses it."""

from __future__ import annotations

import atexit
import functools
import multiprocessing
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple

from benchmarks.support.common import bytes_of, process_folder
from benchmarks.support.equal_stacks import MIB, equal_stack, random_model
from benchmarks.support.handover_consumer import Model, byte_view, consume, segment_views
from benchmarks.support.loaders import loader
from harness.benchmark import Benchmark
from harness.errors import RefusedError, WrongResultError
from harness.records import Param

if TYPE_CHECKING:
    from harness.limits import Limits

FILES: Final = ("safetensors_disk", "safetensors_shm", "hdf5_disk", "hdf5_shm", "direct_disk")
"""A format, and where its file lies: in the data folder, or in memory."""
STREAMS: Final = ("pipe", "socket")
WAYS: Final = (*FILES, "shared_memory", *STREAMS)
SHM: Final = Path("/dev/shm")
LAYERS: Final = 16
JOIN_SECONDS: Final = 10


class Consumer(NamedTuple):
    """The other process, and the ways to it."""

    process: BaseProcess
    commands: Connection
    pipe: Connection
    socket: Connection


class Handover(Benchmark):
    """The time from the start of a save until another process has every byte of the model.

    After "Viper" (ICPP 2024): latency is save and load. The producer saves, then tells the
    consumer, which loads; the processes' common clock stamps both ends. A file is written without
    any sync (durability is not what a hand-over needs) and is warm when it is loaded; what is
    mapped is read through. ``shared_memory`` is a segment that the producer makes and fills and
    the consumer maps. ``pipe`` and ``socket`` carry the tensors one by one into memory that is
    there. ``blocked_seconds`` is how long the producer could do nothing else. Ideal: one copy of
    the bytes with all threads.
    """

    params = (WAYS, (2,))
    param_names = ("way", "mebibytes")
    quick: ClassVar[Mapping[str, Sequence[Param]] | None] = {
        "way": ("safetensors_disk", "shared_memory", "pipe")
    }
    unit = "seconds"

    path: Path | None = None
    segment: SharedMemory | None = None
    is_pending = False
    """Whether the consumer has something to say still."""

    @classmethod
    def planned_bytes(cls, **params: Param) -> int:
        """Return the bytes of the model."""
        return equal_stack(int(params["mebibytes"]) * MIB, LAYERS).nbytes

    def prepare(self, way: str, mebibytes: int) -> None:
        if way.endswith("_shm") and not SHM.is_dir():
            raise RefusedError(f"{SHM} is not there: this system has no file system in memory")
        graph = equal_stack(mebibytes * MIB, LAYERS)
        self.tensors = self.cached(
            ("model to hand over", mebibytes, self.seed), lambda: random_model(graph, self.seed)
        )
        self.shapes = {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}
        self.consumer = _consumer()
        self.path, self.is_pending = None, False
        self.format = way.rpartition("_")[0] if way in FILES else ""
        if self.format:
            self.loader = loader(self.format)
            folder = SHM if way.endswith("_shm") else process_folder()
            name = f"{process_folder().name}-written{self.loader.format.suffix}"
            self.path = folder / name

    def track_latency(self, way: str, mebibytes: int) -> float:
        return self._stream(way) if way in STREAMS else self._save_and_load(way)

    def needed_bytes(self) -> int:
        return bytes_of(self.tensors)

    def ideal_seconds(self, limits: Limits) -> float | None:
        return limits.seconds("memcpy_all_threads", self.needed_bytes())

    def verify(self) -> None:
        """Compare the digest of what has come, and state what the producer waited for."""
        from bench_core.models.digests import tensors_digest

        digest = self.consumer.commands.recv()
        self.is_pending = False
        if digest != tensors_digest(self.tensors):
            raise WrongResultError("the consumer got other bytes")
        self.note(blocked_seconds=self.blocked, phases=self.phases)

    def clean(self) -> None:
        """Remove the file or the segment; a consumer that was left half way is of no use."""
        if self.is_pending:
            self.consumer.process.kill()
            _consumer.cache_clear()
        if self.path is not None:
            self.loader.remove(self.path)
        if self.segment is not None:
            self.segment.close()
            self.segment.unlink()
            self.segment = None

    def _save_and_load(self, way: str) -> float:
        where = str(self.path or f"bench-core-{time.perf_counter_ns():x}")
        self._announce(Model(way, self.shapes, where, self.format))
        began = time.perf_counter_ns()
        self._save(where)
        saved = time.perf_counter_ns()
        self.consumer.commands.send("saved")
        return self._ended(began, saved)

    def _save(self, where: str) -> None:
        from bench_core.formats import Durability
        from bench_core.formats.host_copy import copy_tensors

        if self.path is not None:
            self.loader.format.write(self.tensors, self.path, Durability.RETURN)
            return
        self.segment = SharedMemory(where, create=True, size=self.needed_bytes())
        views = segment_views(self.segment, self.shapes)
        copy_tensors((views[name], tensor) for name, tensor in self.tensors.items())

    def _stream(self, way: str) -> float:
        self._announce(Model(way, self.shapes, ""))
        began = time.perf_counter_ns()
        stream = self.consumer.pipe if way == "pipe" else self.consumer.socket
        for tensor in self.tensors.values():
            stream.send_bytes(byte_view(tensor))
        return self._ended(began, time.perf_counter_ns())

    def _announce(self, model: Model) -> None:
        self.is_pending = True
        self.consumer.commands.send(model)
        self.consumer.commands.recv()

    def _ended(self, began: int, saved: int) -> float:
        loaded: int = self.consumer.commands.recv()
        self.blocked = (saved - began) / 1e9
        self.phases = {"save": self.blocked, "load": (loaded - saved) / 1e9}
        return (loaded - began) / 1e9


@functools.cache
def _consumer() -> Consumer:
    """Return the consumer of this process; it is started once and ends with it."""
    context = multiprocessing.get_context("spawn")
    commands, their_commands = context.Pipe()
    their_pipe, pipe = context.Pipe(duplex=False)
    socket, their_socket = context.Pipe()
    theirs = (their_commands, their_pipe, their_socket)
    process = context.Process(target=consume, args=theirs, daemon=True)
    process.start()
    for connection in theirs:
        connection.close()  # or nobody would notice that the consumer has died
    consumer = Consumer(process, commands, pipe, socket)
    atexit.register(_stop, consumer)
    return consumer


def _stop(consumer: Consumer) -> None:
    if consumer.process.is_alive():
        consumer.commands.send(None)
        consumer.process.join(JOIN_SECONDS)
