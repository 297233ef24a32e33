"""Streaming to a device: staging is reused only when the copies from it are done."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from bench_core.errors import CorruptFileError
from bench_core.formats.direct import Direct
from bench_core.formats.direct.arena import CHUNK_BYTES
from bench_core.formats.direct.reader import PositionedReader
from bench_core.layer_loading import load, load_into, load_timed, to_device
from bench_core.layer_loading.to_device import BUFFERS, Buffer, Lane, stream_into

MIB = 1 << 20


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    large = {f"large{i}": torch.rand(MIB + i, generator=generator) for i in range(15)}
    small = {f"small{i}": torch.rand(100 + i, generator=generator) for i in range(50)}
    return {**large, **small, "scalar": torch.tensor(2.5), "empty": torch.empty(0, 3)}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, tensors: dict[str, torch.Tensor]) -> Path:
    path = tmp_path_factory.mktemp("streamed") / "model.safetensors"
    Direct().write(tensors, path)
    return path


class FakeEvent:
    """The end of copies that run later, on a thread of their own, as on a device."""

    def __init__(self) -> None:
        self.done = threading.Event()

    def synchronize(self) -> None:
        assert self.done.wait(10)


class LateLane(Lane):
    """Copies start long after they were queued: staging that is reused too early gets caught."""

    def __init__(self) -> None:
        self.queued = 0
        self.finished = 0
        self.lock = threading.Lock()
        self.threads: list[threading.Thread] = []

    @contextmanager
    def copying(self, buffer: Buffer) -> Iterator[None]:
        event = FakeEvent()
        staged = buffer.memory.clone()
        yield
        buffer.copied = event  # type: ignore[assignment]

        def run() -> None:
            time.sleep(0.05)
            assert torch.equal(buffer.memory, staged), "staging was overwritten before its copy"
            with self.lock:
                self.finished += 1
            event.done.set()

        with self.lock:
            self.queued += 1
        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()

    def finish(self) -> None:
        for thread in self.threads:
            thread.join()


@pytest.mark.parametrize("direct", [True, False])
def test_staging_waits_for_its_copies(
    path: Path, tensors: dict[str, torch.Tensor], direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = LateLane()
    monkeypatch.setattr(to_device, "lane_to", lambda device: lane)
    into = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    with PositionedReader.open(path, direct=direct) as reader:
        stream_into(reader, into)
    assert all(torch.equal(into[name], tensor) for name, tensor in tensors.items())
    pieces = -(-path.stat().st_size // CHUNK_BYTES)
    assert pieces - 1 <= lane.queued <= pieces
    assert lane.queued > BUFFERS, "the test must come round to each buffer again"
    assert lane.finished == lane.queued


def test_copies_are_waited_for_when_a_read_fails(
    tmp_path: Path, tensors: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"
    Direct().write(tensors, path)
    lane = LateLane()
    monkeypatch.setattr(to_device, "lane_to", lambda device: lane)
    with PositionedReader.open(path, direct=True) as reader:
        os.truncate(path, 30 * MIB)
        with pytest.raises(CorruptFileError):
            stream_into(reader, {name: torch.zeros_like(t) for name, t in tensors.items()})
    assert lane.finished == lane.queued > 0


def test_parts_and_strides(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    names = ["small3", "large2", "scalar", "empty"]
    read = load(path, names, policy="streamed")
    assert list(read) == names
    assert all(torch.equal(read[name], tensors[name]) for name in names)
    into = {"large4": torch.zeros(MIB + 4, 2)[:, 1], "small0": torch.zeros(100)}
    assert load_into(into, path, list(into), policy="streamed").policy == "streamed"
    assert all(torch.equal(into[name], tensors[name]) for name in into)


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("policy", ["auto", "streamed", "direct", "mmap", "populate", "pread"])
def test_to_cuda(path: Path, tensors: dict[str, torch.Tensor], policy: str) -> None:
    read, result = load_timed(path, device="cuda", policy=policy)
    assert result.policy == ("streamed" if policy == "auto" else policy)
    for name, tensor in tensors.items():
        assert read[name].is_cuda
        assert torch.equal(read[name].cpu(), tensor), name


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("policy", ["auto", "streamed", "direct", "mmap", "populate", "pread"])
def test_into_cuda_tensors_in_use(
    path: Path, tensors: dict[str, torch.Tensor], policy: str
) -> None:
    """Work queued on the destinations before the load must not overwrite what it brings."""
    into = {name: torch.zeros_like(tensor, device="cuda") for name, tensor in tensors.items()}
    into["large0"] = torch.zeros(MIB, 2, device="cuda")[:, 0]
    into["small1"] = torch.zeros(101)
    busy = torch.rand(4000, 4000, device="cuda")
    for _ in range(20):
        busy = busy @ busy / busy.norm()
    for tensor in into.values():
        tensor.fill_(7)
    load_into(into, path, policy=policy)
    for name, tensor in tensors.items():
        assert torch.equal(into[name].cpu(), tensor), name


@pytest.mark.gpu
@needs_cuda
def test_streaming_needs_no_more_device_memory_than_the_tensors(path: Path) -> None:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    read = load(path, device="cuda", policy="streamed")
    needed = sum(tensor.nbytes for tensor in read.values())
    assert torch.cuda.max_memory_allocated() - before <= needed + len(read) * 512
