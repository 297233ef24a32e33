"""The peer of `AsyncSaver`: torch.distributed.checkpoint's own asynchronous save."""

from __future__ import annotations

import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from torch import nn

from bench_core.errors import SaveError
from bench_core.formats import Durability, Tensors, WriteResult
from bench_core.storage_writes.background import BackgroundWriter, PendingSave
from bench_core.storage_writes.whole import durability_of, tensors_of


class DcpAsyncSaver(BackgroundWriter):
    """`torch.distributed.checkpoint.async_save` in one process, one save at a time.

    It writes folders, in place: a save that is interrupted leaves half a folder. Its files are
    synced unless the durability is ``return``; it has no finer levels.

    Raises:
        UnknownNameError: there is no such durability.
    """

    def __init__(self, *, durability: Durability | str = Durability.FSYNC_DIR) -> None:
        super().__init__()
        self._sync_files = durability_of(durability) is not Durability.RETURN
        self._last: Future[Any] | None = None

    def save(self, module_or_tensors: nn.Module | Tensors, path: Path | str) -> PendingSave:
        """Start a save of the values of this moment; waits for the one before.

        Raises:
            SaveError: earlier saves failed and nobody has seen it, or the writer is closed.
            UnsupportedError: something is no tensor.
        """
        from torch.distributed.checkpoint.filesystem import FileSystemWriter  # half a second
        from torch.distributed.checkpoint.state_dict_saver import async_save

        started_ns = time.perf_counter_ns()
        self._check()
        tensors = tensors_of(module_or_tensors)
        if self._last is not None:
            self._last.exception()
        writer = FileSystemWriter(path, sync_files=self._sync_files)
        future = async_save(tensors, storage_writer=writer)
        assert isinstance(future, Future)  # with a stager that is asynchronous too, it is another
        self._last = future
        nbytes = sum(tensor.nbytes for tensor in tensors.values())
        return self._start(lambda: _finish(future, Path(path), nbytes, started_ns), started_ns)


def _finish(future: Future[Any], path: Path, nbytes: int, started_ns: int) -> WriteResult:
    """Wait for the save and return what it did."""
    error = future.exception()  # not `result`: the library's errors are no `Exception`
    if error is not None:
        last_line = str(error).strip().splitlines()[-1]  # above it is a traceback
        raise SaveError(f"{path}: not written by async_save, {last_line}") from error
    ended_ns = time.perf_counter_ns() - started_ns
    on_disk = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return WriteResult(path, nbytes, on_disk, return_ns=ended_ns, durable_ns=ended_ns)
