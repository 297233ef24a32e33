"""Reading to a device: each piece is copied there while the next ones are being read."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Final

import torch

from bench_core.formats.base import Tensors
from bench_core.formats.direct import workers
from bench_core.formats.direct.alignment import PAGE_BYTES
from bench_core.formats.direct.arena import CHUNK_BYTES
from bench_core.formats.direct.plan import Request, Span, windows
from bench_core.formats.direct.reader import PositionedReader

BUFFERS: Final = 2 * workers.DEPTH
"""As many may be copied from as are read into."""

STAGING_BYTES: Final = BUFFERS * CHUNK_BYTES
"""32 MiB a call; pinned for CUDA, where torch keeps it for the next call."""


class Buffer:
    """A piece of staging memory."""

    def __init__(self, memory: torch.Tensor) -> None:
        self.memory = memory
        self.copied: torch.cuda.Event | None = None
        """The end of the copies that read it."""

    def wait(self) -> None:
        """Wait until it may be overwritten."""
        if self.copied is not None:
            self.copied.synchronize()


class Lane:
    """The way from staging memory to a device: here one where a copy is done when it returns."""

    is_asynchronous = False

    def allocate(self, nbytes: int) -> torch.Tensor:
        """Return memory to copy from."""
        return torch.empty(nbytes, dtype=torch.uint8)

    @contextmanager
    def copying(self, buffer: Buffer) -> Iterator[None]:
        """Queue the copies made within; they read ``buffer``."""
        yield

    def finish(self) -> None:
        """Wait for all copies."""


class CudaLane(Lane):
    """Pinned memory and a stream of its own: copies run beside the reads and other streams."""

    is_asynchronous = True

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        # The destinations' memory may still be in use by what is queued now.
        self._stream.wait_stream(torch.cuda.current_stream(device))

    def allocate(self, nbytes: int) -> torch.Tensor:
        """Return pinned memory."""
        return torch.empty(nbytes, dtype=torch.uint8, pin_memory=True)

    @contextmanager
    def copying(self, buffer: Buffer) -> Iterator[None]:
        """Queue the copies made within, and mark where they end."""
        with torch.cuda.stream(self._stream):
            yield
        buffer.copied = self._stream.record_event()

    def finish(self) -> None:
        """Wait for all copies."""
        self._stream.synchronize()


def stream_into(reader: PositionedReader, tensors: Tensors) -> int:
    """Fill existing tensors on any devices, one device after the other.

    Names, shapes and types must have been checked against the file.

    Returns:
        `time.perf_counter_ns` when the last byte had reached host memory.

    Raises:
        CorruptFileError: the file was truncated after it was opened; some tensors are filled.
    """
    moved = {
        name: torch.empty_like(tensor, memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
        if not tensor.is_contiguous() or tensor.is_conj() or tensor.is_neg()
    }
    targets = {name: t for name, t in {**tensors, **moved}.items() if t.numel()}
    read_ns = time.perf_counter_ns()
    for device in {tensor.device for tensor in targets.values()}:
        read_ns = _stream_to(
            reader, {name: t for name, t in targets.items() if t.device == device}, lane_to(device)
        )
    with torch.no_grad():
        for name, tensor in moved.items():
            tensors[name].copy_(tensor)
    return read_ns


def lane_to(device: torch.device) -> Lane:
    """Return the way to ``device``."""
    return CudaLane(device) if device.type == "cuda" else Lane()


def _stream_to(reader: PositionedReader, tensors: Tensors, lane: Lane) -> int:
    """Fill contiguous tensors of one device; return when the last byte was in host memory."""
    entries = [reader.header.entries[name] for name in tensors]
    targets = [tensor.detach().view(-1).view(torch.uint8) for tensor in tensors.values()]
    # A span's address here is the number of its target.
    spans = sorted(Span(entry.begin, entry.end, i) for i, entry in enumerate(entries))
    buffers = _buffers(lane)

    def work(request: Request) -> None:
        buffer = buffers.get()
        try:
            buffer.wait()
            reader.file.read(buffer.memory.data_ptr(), request.offset, request.nbytes)
            with lane.copying(buffer):
                for position, span, skip, nbytes in request.copies:
                    targets[span.address][skip : skip + nbytes].copy_(
                        buffer.memory[position : position + nbytes],
                        non_blocking=lane.is_asynchronous,
                    )
        finally:
            buffers.put(buffer)

    try:
        workers.run(windows(spans, reader.file.alignment), work)
        return time.perf_counter_ns()
    finally:
        # Copies still queued read the buffers.
        lane.finish()


def _buffers(lane: Lane) -> SimpleQueue[Buffer]:
    """Return aligned buffers, to be taken in turn: the one whose copies are oldest comes first."""
    memory = lane.allocate(STAGING_BYTES)
    start = -memory.data_ptr() % PAGE_BYTES
    buffers: SimpleQueue[Buffer] = SimpleQueue()
    for offset in range(start, STAGING_BYTES - CHUNK_BYTES + 1, CHUNK_BYTES):
        buffers.put(Buffer(memory[offset : offset + CHUNK_BYTES]))
    return buffers
