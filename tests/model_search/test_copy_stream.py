"""What is copied to a device beside the computation: filled in the stream, then handed over."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from search_sets import store_of

from bench_core.model_search.copy_stream import CopyStream
from bench_core.model_search.inputs import to_device
from bench_core.model_search.loading import BlockLoader, UnusableBlockError
from bench_core.model_search.meter import Meter

CPU, META = torch.device("cpu"), torch.device("meta")


class Watched(CopyStream):
    """Notes the order in which it is used."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.handed_over: list[torch.Tensor] = []

    @contextlib.contextmanager
    def copying(self) -> Iterator[None]:
        self.events.append("begin")
        try:
            yield
        finally:
            self.events.append("end")

    def copy(self, tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
        self.events.append("copy")
        return super().copy(tensor, device)

    def hand_over(self, tensors: Iterable[torch.Tensor]) -> None:
        self.events.append("hand over")
        self.handed_over += tensors


@pytest.fixture
def stream() -> Watched:
    return Watched()


def test_a_blocks_tensors_are_handed_over_once_they_are_there(
    stream: Watched, tmp_path: Path
) -> None:
    block = store_of(tmp_path, [(0, 1)]).snapshot("m0").blocks[0]
    loader = replace(BlockLoader(store_of(tmp_path, []), CPU, Meter(), verify=True), copies=stream)
    module = loader.load(block)
    assert stream.events == ["begin", "end", "hand over"]
    addresses = {tensor.data_ptr() for tensor in stream.handed_over}
    assert addresses == {tensor.data_ptr() for tensor in module.state_dict().values()}


def test_of_a_damaged_block_nothing_is_handed_over(stream: Watched, tmp_path: Path) -> None:
    store = store_of(tmp_path, [(0, 1)])
    block = store.snapshot("m0").blocks[0]
    path = store.block_path(block)
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-4] + b"\0\1\2\3")
    loader = replace(BlockLoader(store, CPU, Meter(), verify=True), copies=stream)
    with pytest.raises(UnusableBlockError):
        loader.load(block)
    assert stream.events == ["begin", "end"]


@pytest.mark.parametrize("n_tensors", [1, 2])
def test_inputs_are_copied_in_the_stream(stream: Watched, n_tensors: int) -> None:
    meter, tensors = Meter(), tuple(torch.ones(3, 4) for _ in range(n_tensors))
    moved = to_device(tensors if n_tensors > 1 else tensors[0], META, meter, stream)
    assert stream.events == ["begin", *["copy"] * n_tensors, "end", "hand over"]
    found = moved if isinstance(moved, tuple) else (moved,)
    assert all(a is b for a, b in zip(found, stream.handed_over, strict=True))
    assert [tensor.device for tensor in found] == [META] * n_tensors
    assert meter.work.counts["bytes_to_device"] == n_tensors * 48


def test_inputs_for_the_processor_stay_where_they_are(stream: Watched) -> None:
    inputs, meter = torch.ones(3), Meter()
    assert to_device(inputs, CPU, meter, stream) is inputs
    assert not stream.events
    assert "bytes_to_device" not in meter.work.counts
