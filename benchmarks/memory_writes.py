"""Writing a model to memory: the lower bound of every write, and how a background save begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.support.common import (
    ModelBenchmark,
    bytes_of,
    require_cuda,
    require_equal,
    return_free_memory,
)
from harness.errors import RefusedError

if TYPE_CHECKING:
    from bench_core.storage_writes import MemoryTarget
    from harness.limits import Limits

REUSED = ("arena",)


class ToMemory(ModelBenchmark):
    """Inside the clock: a copy of all tensors of a model to host memory, and one device sync.

    On the CPU the copy is a memcpy. ``arena`` keeps its memory between samples; the others end in
    fresh memory. ``bytesio`` serialises too. Ideal: the bytes at the probed bandwidth of a copy
    into such memory, or from the device into pinned or pageable memory.
    """

    params = (
        ("arena", "pageable", "pinned", "clone", "bytesio", "shared"),
        ("cpu", "cuda"),
        ("stack_8x1MiB",),
    )
    param_names = ("way", "device", "model")
    quick = {"way": ("arena", "pageable", "clone", "bytesio", "shared")}

    target: MemoryTarget | None = None

    def prepare(self, way: str, device: str, model: str) -> None:
        from bench_core.storage_writes import memory_target

        if device == "cuda":
            require_cuda()
        elif way == "pinned":
            raise RefusedError(
                "pinned memory serves copies from a device; the tensors are on the CPU"
            )
        self.way, self.device = way, device
        self.tensors = {name: tensor.to(device) for name, tensor in self.reference(model).items()}
        self.nbytes = bytes_of(self.tensors)
        if self.target is None:
            self.target = memory_target(way)
        if way not in REUSED:
            return_free_memory()

    def time_copy(self, way: str, device: str, model: str) -> Any:
        return self.target.copy(self.tensors)  # type: ignore[union-attr]

    def ideal_seconds(self, limits: Limits) -> float | None:
        return limits.seconds(self._limit(), bytes_of(self.tensors))

    def verify(self) -> None:
        assert self.target is not None
        self.note(copy=self.target.label(self.tensors))
        require_equal(self.target.stored(), self.tensors)

    def clean(self) -> None:
        """Give the copy's memory back, except where keeping it is the point."""
        self.tensors = {}
        if self.target is not None and self.way not in REUSED:
            self.target.close()
            self.target = None

    def _limit(self) -> str:
        if self.device == "cuda":
            return "d2h_pinned" if self.way in ("arena", "pinned") else "d2h_pageable"
        return "memcpy_all_threads" if self.way in REUSED else "memcpy_fresh"
