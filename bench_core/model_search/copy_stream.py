"""Copies to a device, made while it computes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch


class CopyStream:
    """Where copies to a device are queued: here one where they are done when they return."""

    @contextlib.contextmanager
    def copying(self) -> Iterator[None]:
        """Allocate and fill tensors of the device inside; they are filled when this is left."""
        yield

    def copy(self, tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
        """Return a tensor of the host on the device; call it within `copying`."""
        return tensor.to(device)

    def hand_over(self, tensors: Iterable[torch.Tensor]) -> None:
        """Say that what was filled within `copying` is computed with from now on."""


class CudaCopyStream(CopyStream):
    """A stream of its own, so that copies and computation do not wait for each other.

    Tensors that are allocated within `copying` come from memory that torch keeps for this stream:
    on that of the computation they would have to wait for all that is queued there, which may still
    use the same memory. In turn, memory that is freed here waits for what was queued there before.
    """

    def __init__(self, device: torch.device) -> None:
        """Take the calling thread's current stream for the one of the computation."""
        self._computation = torch.cuda.current_stream(device)
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    @contextlib.contextmanager
    def copying(self) -> Iterator[None]:
        """Queue on the own stream what is made inside, and wait for it."""
        try:
            with torch.cuda.stream(self._stream):
                yield
        finally:
            self._stream.synchronize()

    def copy(self, tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
        """Copy by way of pinned memory, of which torch keeps some."""
        return tensor.pin_memory().to(device, non_blocking=True)

    def hand_over(self, tensors: Iterable[torch.Tensor]) -> None:
        """Let the memory, once freed, wait for what will be queued for the computation."""
        for tensor in tensors:
            tensor.record_stream(self._computation)


def copy_stream(device: torch.device) -> CopyStream:
    """Return the way to a device; to be called by the thread that computes."""
    return CudaCopyStream(device) if device.type == "cuda" else CopyStream()
