"""Saving in the background: the caller waits for a copy in memory, not for the storage."""

from __future__ import annotations

import functools
import queue
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, get_args

from torch import nn

from bench_core import formats
from bench_core.errors import UnknownNameError, UnsupportedError, nearest
from bench_core.formats import Durability, Tensors, WriteResult
from bench_core.storage_writes.background import BackgroundWriter, PendingSave
from bench_core.storage_writes.process_writer import ProcessWriter
from bench_core.storage_writes.staging import SharedStaging, Staging
from bench_core.storage_writes.whole import durability_of, tensors_of

Worker = Literal["thread", "process"]


class AsyncSaver(BackgroundWriter):
    """Copies what it is given into memory that it keeps, and writes from there in the background.

    What is stored are the values at the call, whatever the caller does to its tensors afterwards.
    Saves end in the order in which they began, so that of two to one path the later one stays.
    With one staging memory (the default) a save that begins while another is under way first
    waits for it: at most one copy of the model is held.

    Args:
        durability: of each save, as in `save`.
        format: a name in `bench_core.formats.names`.
        worker: ``thread``, or ``process``: that one competes for no interpreter lock with the
            caller, takes some two seconds to start (meanwhile saves are staged, not written),
            and stages in ``/dev/shm``.
        buffers: number of staging memories, each of the model's size.

    Raises:
        UnknownNameError: there is no such durability, format or worker.
        UnsupportedError: ``buffers`` is less than 1, or the format cannot work here.
        MissingExtraError: the library behind the format is not installed.

    Example:
        >>> import torch
        >>> from bench_core.storage_writes import AsyncSaver
        >>> model = torch.nn.Linear(100, 100)
        >>> with AsyncSaver() as saver:
        ...     pending = saver.save(model, "step-100.safetensors")
        ...     _ = model.weight.data.zero_()  # training goes on, the save has the old values
        ...     times = pending.result()
        >>> times.blocked_ns < times.total_ns
        True
    """

    def __init__(
        self,
        *,
        durability: Durability | str = Durability.FSYNC_DIR,
        format: str = "direct",
        worker: Worker = "thread",
        buffers: int = 1,
    ) -> None:
        level = durability_of(durability)
        formats.get(format).check_available()
        if worker not in get_args(Worker):
            raise UnknownNameError(
                f"unknown worker {worker!r}; expected one of {', '.join(get_args(Worker))}"
                f"{nearest(worker, get_args(Worker))}"
            )
        if buffers < 1:
            raise UnsupportedError(f"buffers is {buffers}; expected at least 1")
        super().__init__()
        self._format = formats.get(format)
        self._durability = level
        self._process: ProcessWriter | None = None
        self._stagings: Sequence[Staging]
        if worker == "process":
            shared = [SharedStaging() for _ in range(buffers)]
            self._process = ProcessWriter(shared, format, level)
            self._stagings = shared
        else:
            self._stagings = [Staging() for _ in range(buffers)]
        self._free: queue.SimpleQueue[Staging] = queue.SimpleQueue()
        for staging in self._stagings:
            self._free.put(staging)

    @property
    def nbytes(self) -> int:
        """Bytes of staging memory held now."""
        return sum(staging.nbytes for staging in self._stagings)

    def save(self, module_or_tensors: nn.Module | Tensors, path: Path | str) -> PendingSave:
        """Copy the values of this moment and start to write them; waits while no memory is free.

        Raises:
            SaveError: earlier saves failed and nobody has seen it, or the writer is closed.
            UnsupportedError: something is not a dense tensor with data.
        """
        started_ns = time.perf_counter_ns()
        self._check()
        tensors = tensors_of(module_or_tensors)
        return self._stage(self._free.get(), tensors, Path(path), started_ns)

    def try_save(
        self, module_or_tensors: nn.Module | Tensors, path: Path | str
    ) -> PendingSave | None:
        """Like `save`, but return None at once, saving nothing, where `save` would have to wait.

        Raises:
            SaveError, UnsupportedError: as `save`.
        """
        started_ns = time.perf_counter_ns()
        self._check()
        tensors = tensors_of(module_or_tensors)
        try:
            staging = self._free.get_nowait()
        except queue.Empty:
            return None
        return self._stage(staging, tensors, Path(path), started_ns)

    def _stage(
        self, staging: Staging, tensors: Tensors, path: Path, started_ns: int
    ) -> PendingSave:
        try:
            staging.copy(tensors)
        except BaseException:
            self._free.put(staging)
            raise
        return self._start(functools.partial(self._write, staging, path), started_ns)

    def _write(self, staging: Staging, path: Path) -> WriteResult:
        try:
            if self._process is not None and isinstance(staging, SharedStaging):
                return self._process.write(staging, path)
            return self._format.write(staging.tensors(), path, self._durability)
        finally:
            self._free.put(staging)

    def _end(self) -> None:
        super()._end()
        if self._process is not None:
            self._process.close()
        for staging in self._stagings:
            staging.close()


def save_async(
    module_or_tensors: nn.Module | Tensors,
    path: Path | str,
    *,
    durability: Durability | str = Durability.FSYNC_DIR,
    format: str = "direct",
) -> PendingSave:
    """Save once in the background; who saves again and again keeps an `AsyncSaver`.

    The copy is made into fresh memory, which is freed when the save has ended. An error is
    seen only by who asks for the result.

    Raises:
        UnsupportedError: something is not a dense tensor with data.
        UnknownNameError: there is no such format or durability.
    """
    started_ns = time.perf_counter_ns()
    level = durability_of(durability)
    writer = formats.get(format)
    copies = Staging().copy(tensors_of(module_or_tensors))
    thread = ThreadPoolExecutor(1, thread_name_prefix="save")
    future = thread.submit(
        lambda: (writer.write(copies, Path(path), level), time.perf_counter_ns())
    )
    thread.shutdown(wait=False)  # it ends after this save
    return PendingSave(future, started_ns)
