"""The largest batch within a memory limit: the search for it, and the process that is limited."""

from __future__ import annotations

import ctypes
import gc
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import torch

    from bench_core.storage_writes.child import Child

MOST_ITEMS: Final = 1 << 22
FINEST: Final = 16
"""Bisection ends when what is open is this part of the answer."""
_REFUSED: Final = re.compile(r"memory|alloc|could not create a primitive", re.IGNORECASE)
"""In messages of torch, the C++ library and oneDNN where memory is refused."""
_DIED: Final = "the process died"
MAPPED_FROM: Final = 1 << 17
"""Bytes from which an allocation has a mapping of its own."""
_M_MMAP_THRESHOLD: Final = -3
"""mallopt(3)."""


class BatchLimit:
    """Asks a limited process for ever larger batches.

    Args:
        architecture: of the model.
        size: of images in pixels, of texts in tokens, where the model takes any.
        nbytes: memory beside libraries and model.
        device: ``cpu`` or ``cuda``.
    """

    def __init__(self, architecture: str, size: int, nbytes: int, device: str) -> None:
        self.nbytes = nbytes
        self._asked = {
            "architecture": architecture,
            "size": size,
            "nbytes": nbytes,
            "device": device,
        }
        self._child: Child | None = None
        self.peak_bytes = 0
        """Of the largest batch that was computed."""
        self.refused: int | None = None
        """The smallest batch that was refused."""
        self.reason = ""
        """How it was refused."""
        self.tried = 0

    def largest(self, *, bisect: bool) -> int:
        """Return the most items that were computed; 0 if one alone was refused."""
        fits, asked = 0, 1
        while asked <= MOST_ITEMS and self._fits(asked):
            fits, asked = asked, 2 * asked
        while bisect and self.refused and self.refused - fits > max(1, fits // FINEST):
            asked = (fits + self.refused) // 2
            if self._fits(asked):
                fits = asked
        return fits

    def close(self) -> None:
        """End the process."""
        if self._child is not None:
            self._child.kill()
            self._child.close()
            self._child = None

    def _fits(self, items: int) -> bool:
        from bench_core.errors import SaveError

        self.tried += 1
        child = self._running()
        try:
            child.send({"items": items})
            answer = child.receive()
        except SaveError as error:
            self.close()
            if not str(error).startswith(_DIED):
                raise
            answer = {"refusal": str(error)}
        if "refusal" in answer:
            self.refused, self.reason = items, answer["refusal"]
            return False
        self.peak_bytes = answer["peak_bytes"]
        return True

    def _running(self) -> Child:
        """Return the process, limited and warm; a new one in the place of one that died."""
        from bench_core.storage_writes.child import Child

        if self._child is None:
            self._child = Child(__name__)
            self._child.send(self._asked)
            self._child.receive()
        return self._child


def main(_started_ns: int) -> None:
    """Load the model that is asked for first, then compute batches until there are no more."""
    from bench_core.storage_writes.child import Channel

    channel = Channel()
    model: _Limited | None = None
    while (request := channel.receive()) is not None:
        try:
            if model is None:
                model = _Limited(**request)
                channel.send({})
            else:
                channel.send(model.attempt(request["items"]))
        except Exception as error:  # the parent raises it
            channel.fail(error)


class _Limited:
    """A model, and batches for which it may have so many bytes more than without them."""

    def __init__(self, architecture: str, size: int, nbytes: int, device: str) -> None:
        from bench_core.models import chain
        from bench_core.models.chains import block_module, initialised
        from benchmarks.support.chain_inputs import item_shapes

        found = chain(architecture)
        self._shapes, self._device = item_shapes(found, size), device
        self._modules: list[torch.nn.Module] = [
            block_module(spec, initialised(spec, 0)).to(device) for spec in found.blocks
        ]
        _map_large_tensors()
        self._compute(1)  # starts the threads and what else is made at the first use
        self._nbytes = nbytes

    def attempt(self, items: int) -> dict[str, Any]:
        """Compute a batch; return the bytes that it took at most, or how it was refused.

        Raises:
            RuntimeError: it failed, but not for want of memory.
        """
        from harness import counters

        _free(self._device)
        # Anew for each batch: oneDNN keeps what it compiled for the shapes of earlier ones.
        _limit_device(self._nbytes) if self._device == "cuda" else _limit_process(self._nbytes)
        counters.reset_peaks()
        before = _used(self._device)
        try:
            self._compute(items)
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, MemoryError) and not _REFUSED.search(str(error)):
                raise
            return {"refusal": " ".join(str(error).split())[:200] or type(error).__name__}
        return {"peak_bytes": max(0, _peak(self._device) - before)}

    def _compute(self, items: int) -> None:
        from bench_core.model_search.rates import random_batch
        from benchmarks.support.chain_inputs import forward_chain

        forward_chain(self._modules, random_batch(self._shapes, items, self._device))


def _map_large_tensors() -> None:
    """Let the C library (glibc) return large tensors to the kernel as soon as they are freed.

    By default it keeps more and more of them: mapped, which counts against no later limit.
    """
    mallopt: Any = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, MAPPED_FROM)


def _limit_process(nbytes: int) -> None:
    """Let the kernel refuse private memory beyond what there is and so many bytes more."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    allowed = _status_bytes("VmData") + nbytes
    resource.setrlimit(resource.RLIMIT_DATA, (allowed if hard < 0 else min(allowed, hard), hard))


def _limit_device(nbytes: int) -> None:
    """Let torch's allocator refuse what is beyond what there is and so many bytes more."""
    import torch

    total = torch.cuda.get_device_properties(0).total_memory
    _free("cuda")
    allowed = torch.cuda.memory_reserved() + nbytes
    torch.cuda.set_per_process_memory_fraction(min(1.0, allowed / total))


def _free(device: str) -> None:
    """Give back what earlier batches left in allocators."""
    gc.collect()
    if device == "cuda":
        import torch

        torch.cuda.empty_cache()
    else:
        from benchmarks.support.common import return_free_memory

        return_free_memory()


def _used(device: str) -> int:
    if device == "cuda":
        import torch

        return torch.cuda.memory_allocated()
    return _status_bytes("VmRSS")


def _peak(device: str) -> int:
    if device == "cuda":
        import torch

        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated()
    return _status_bytes("VmHWM")


def _status_bytes(key: str) -> int:
    """Return one of the kernel's figures for this process (proc(5))."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {key}")
