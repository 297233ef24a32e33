"""Saves in the background: how long training stands still, and when the bytes are durable."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.storage_writes import durable_seconds
from benchmarks.support.common import ModelBenchmark, bytes_of, process_folder, require_equal
from benchmarks.support.loaders import loader

if TYPE_CHECKING:
    import torch

    from bench_core.formats import Tensors
    from harness.limits import Limits

TRAINING_STEPS: Final = 40
TRAINING_SIZE: Final = 512


@dataclass(frozen=True)
class _Finished:
    """A save that was not in the background, behind the interface of one that was."""

    written: object

    def result(self) -> object:
        return self.written


class _Blocking:
    """`storage_writes.save`: the caller waits until the bytes are durable."""

    def save(self, tensors: Tensors, path: Path) -> _Finished:
        from bench_core import storage_writes

        return _Finished(storage_writes.save(tensors, path))


class AsyncSave(ModelBenchmark):
    """A durable save beside the caller's work, by `AsyncSaver` or its peers.

    Inside the clock, ``time_blocked``: until the call returns and the caller may change its
    tensors. ``time_total``: until the bytes are durable. ``time_beside_training``: a fixed number
    of matrix products that run while the save is under way, and the rest of the save;
    the sample's ``times`` say what the products take by themselves. Ideal: of the first, a copy in
    memory (for a blocking save the durable write); of the second, the durable write.
    """

    params = (("thread", "process", "dcp", "blocking"), ("stack_8x1MiB",))
    param_names = ("way", "model")
    quick = {"way": ("thread", "dcp", "blocking")}

    path: Path

    def prepare(self, way: str, model: str) -> None:
        self.way = way
        self.loader = loader("dcp" if way == "dcp" else "direct")
        self.tensors = self.reference(model)
        self.path = process_folder() / f"background{self.loader.format.suffix}"
        # Kept between samples, as training keeps it: its staging memory is touched once.
        self.saver = self.cached(("saver", way, model), self._started_saver)
        self.matrix = self.cached("matrix", _matrix)
        self.training_alone = self.cached("training alone", lambda: _timed_training(self.matrix))

    def time_blocked(self, way: str, model: str) -> Any:
        return self.saver.save(self.tensors, self.path)

    def time_total(self, way: str, model: str) -> Any:
        pending = self.saver.save(self.tensors, self.path)
        pending.result()
        return pending

    def time_beside_training(self, way: str, model: str) -> Any:
        pending = self.saver.save(self.tensors, self.path)
        train(self.matrix)
        pending.result()
        return pending

    def needed_bytes(self) -> int | None:
        return None if self.method == "time_beside_training" else bytes_of(self.tensors)

    def ideal_seconds(self, limits: Limits) -> float | None:
        nbytes = bytes_of(self.tensors)
        if self.method == "time_beside_training":
            return None
        if self.method == "time_blocked" and self.way != "blocking":
            return limits.seconds("memcpy_all_threads", nbytes)
        return durable_seconds(limits, nbytes)

    def verify(self) -> None:
        """Wait for the save, read everything back and compare."""
        self.result.result()
        if self.method == "time_beside_training":
            self.note(times={"training alone": self.training_alone})
        require_equal(self.loader.load(self.path), self.tensors)

    def _started_saver(self) -> Any:
        """Return a saver whose process runs and whose memory has been touched by a first save."""
        saver = _saver(self.way)
        saver.save(self.tensors, self.path).result()
        self.clean()
        return saver

    def clean(self) -> None:
        """Remove what was written."""
        if hasattr(self, "path"):
            self.loader.remove(self.path)


def train(matrix: torch.Tensor) -> torch.Tensor:
    """Work as training does: matrix products on the CPU, each on the result of the one before."""
    product = matrix
    for _ in range(TRAINING_STEPS):
        product = product @ matrix
    return product


def _matrix() -> torch.Tensor:
    import torch

    generator = torch.Generator().manual_seed(0)
    # Orthogonal: products neither grow nor fade into denormals, which are slow.
    orthogonal: torch.Tensor = torch.linalg.qr(
        torch.randn(TRAINING_SIZE, TRAINING_SIZE, generator=generator)
    ).Q
    return orthogonal.contiguous()


def _timed_training(matrix: torch.Tensor) -> float:
    train(matrix)
    began = time.perf_counter()
    train(matrix)
    return time.perf_counter() - began


def _saver(way: str) -> Any:
    from bench_core import storage_writes

    if way == "blocking":
        return _Blocking()
    if way == "dcp":
        return storage_writes.DcpAsyncSaver()
    return storage_writes.AsyncSaver(worker="process" if way == "process" else "thread")
