"""Reading by name, by slice and into tensors: what is read, how much of it, and what goes wrong."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench_core.errors import (
    CorruptFileError,
    TensorMismatchError,
    TensorNotFoundError,
    UnsupportedError,
)
from bench_core.formats.direct import Direct, raw_io, release_arenas
from bench_core.formats.direct.arena import CHUNKS, current
from bench_core.formats.direct.reader import PositionedReader
from bench_core.formats.direct.slices import enclosing

MIB = 1 << 20


def random_bytes(count: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, count, np.uint8))


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    """Eight layers of 1 MiB with a bias each, and a tail that is not aligned."""
    model: dict[str, torch.Tensor] = {}
    for i in range(8):
        model[f"layer{i}.weight"] = random_bytes(MIB, i).view(torch.float32).view(512, 512)
        model[f"layer{i}.bias"] = random_bytes(1000, 100 + i).view(torch.float16)
    return model


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, tensors: dict[str, torch.Tensor]) -> Path:
    path = tmp_path_factory.mktemp("direct") / "model.safetensors"
    Direct().write(tensors, path)
    return path


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal bits: random ones hold NaNs."""
    return (
        a.shape == b.shape
        and a.dtype == b.dtype
        and torch.equal(
            a.contiguous().view(-1).view(torch.uint8), b.contiguous().view(-1).view(torch.uint8)
        )
    )


def bytes_read_from_device() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["read_bytes"])


def test_specs_are_in_file_order(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    with Direct().open(path) as reader:
        specs = reader.specs
    assert list(specs) == [n for n in tensors if "weight" in n] + [
        n for n in tensors if "bias" in n
    ]
    assert specs["layer3.weight"].shape == (512, 512)
    assert specs["layer3.weight"].dtype == torch.float32
    assert specs["layer3.weight"].nbytes == MIB


def test_named_tensors_come_in_the_order_of_the_names(
    path: Path, tensors: dict[str, torch.Tensor]
) -> None:
    names = ["layer5.bias", "layer0.weight", "layer5.bias", "layer2.weight"]
    with Direct().open(path) as reader:
        read = reader.read(names)
    assert list(read) == ["layer5.bias", "layer0.weight", "layer2.weight"]
    assert all(same(read[name], tensors[name]) for name in read)


def test_one_layer_reads_little_more_than_itself(path: Path) -> None:
    """The target: at most 1.01 times the bytes of a layer of 1 MB, the header included."""
    for action in (
        lambda r: r.read(["layer4.weight"]),
        lambda r: r.read_into({"layer4.weight": torch.empty(512, 512)}),
    ):
        before = bytes_read_from_device()
        with Direct().open(path) as reader:
            action(reader)
        read = bytes_read_from_device() - before
        if read == 0:
            pytest.skip("the file system of the temporary folder has no device of its own")
        assert MIB <= read <= 1.01 * MIB


def test_every_other_layer_reads_no_layer_between(path: Path) -> None:
    before = bytes_read_from_device()
    with Direct().open(path) as reader:
        reader.read([f"layer{i}.weight" for i in range(0, 8, 2)])
    assert bytes_read_from_device() - before <= 1.01 * 4 * MIB


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("shift", [0, 1, 16, 64 // 4, 128, 512])
def test_existing_tensors_at_any_address_are_filled(
    path: Path, tensors: dict[str, torch.Tensor], direct: bool, shift: int
) -> None:
    into = {}
    for name, tensor in tensors.items():
        around = torch.full((tensor.numel() + 1024 + shift,), 7, dtype=tensor.dtype)
        into[name] = around[shift : shift + tensor.numel()].view(tensor.shape)
        into[name]._around = around
    with PositionedReader.open(path, direct=direct) as reader:
        reader.read_into(into)
    for name, tensor in into.items():
        assert same(tensor, tensors[name]), name
        around = tensor._around
        assert (around[:shift] == 7).all(), "bytes before the destination were overwritten"
        assert (around[shift + tensor.numel() :] == 7).all(), "bytes after it were overwritten"


def test_destinations_of_other_kinds_are_filled(
    path: Path, tensors: dict[str, torch.Tensor]
) -> None:
    parameter = torch.nn.Parameter(torch.zeros(512, 512))
    into = {
        "layer0.weight": torch.zeros(512, 512).t(),
        "layer1.weight": parameter,
        "layer2.weight": torch.zeros(512, 1024)[:, ::2],
    }
    version = parameter._version
    with Direct().open(path) as reader:
        reader.read_into(into)
    for name, tensor in into.items():
        assert same(tensor.detach(), tensors[name])
    assert parameter._version > version, "autograd must see that saved values have changed"


def test_of_two_names_for_one_memory_the_last_is_read(
    path: Path, tensors: dict[str, torch.Tensor]
) -> None:
    tied = torch.zeros(512, 512)
    with Direct().open(path) as reader:
        reader.read_into({"layer6.weight": tied, "layer1.weight": tied})
        assert same(tied, tensors["layer1.weight"])
        reader.read_into({"layer1.weight": tied, "layer6.weight": tied})
        assert same(tied, tensors["layer6.weight"])


def test_wrong_destinations_are_named(path: Path) -> None:
    with Direct().open(path) as reader:
        with pytest.raises(TensorMismatchError, match=r"layer0\.weight.*float64"):
            reader.read_into({"layer0.weight": torch.zeros(512, 512, dtype=torch.float64)})
        with pytest.raises(TensorMismatchError, match=r"\[512, 511\]"):
            reader.read_into({"layer0.weight": torch.zeros(512, 511)})
        with pytest.raises(TensorNotFoundError, match=r"did you mean 'layer0\.weight'"):
            reader.read_into({"layer0.wieght": torch.zeros(512, 512)})


@pytest.mark.parametrize("action", ["read", "read_slice", "prepare"])
def test_a_missing_name_suggests_the_nearest(path: Path, action: str) -> None:
    calls: dict[str, Callable[[PositionedReader], object]] = {
        "read": lambda reader: reader.read(["layer3.wait"]),
        "read_slice": lambda reader: reader.read_slice("layer3.wait", (slice(1),)),
        "prepare": lambda reader: reader.prepare(["layer3.wait"]),
    }
    with Direct().open(path) as reader, pytest.raises(TensorNotFoundError) as caught:
        calls[action](reader)
    assert "did you mean 'layer3.weight'" in str(caught.value)
    assert str(path) in str(caught.value)


bounds = st.one_of(st.none(), st.integers(-9, 9))
slices = st.builds(slice, bounds, bounds, st.one_of(st.none(), st.integers(1, 4)))


@settings(max_examples=200, deadline=None)
@given(
    shape=st.lists(st.integers(0, 6), min_size=0, max_size=4).map(tuple),
    index=st.lists(slices, max_size=4).map(tuple),
)
def test_any_slice_is_what_torch_says(shape: tuple[int, ...], index: tuple[slice, ...]) -> None:
    tensor = torch.arange(torch.Size(shape).numel()).view(shape)
    index = index[: len(shape)]
    part = enclosing(shape, index)
    flat = tensor.reshape(-1)[part.first : part.first + part.count]
    assert torch.equal(part.of(flat), tensor[index])
    if part.count:
        assert tensor[index].reshape(-1)[0] == flat[0]
        assert tensor[index].reshape(-1)[-1] == flat[-1]


def test_a_slice_of_rows_reads_those_rows(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    with Direct().open(path) as reader:
        before = bytes_read_from_device()
        rows = reader.read_slice("layer3.weight", (slice(100, 164),))
        read = bytes_read_from_device() - before
        assert same(rows, tensors["layer3.weight"][100:164])
        assert read <= 64 * 2048 + 2 * 4096
        columns = reader.read_slice("layer3.weight", (slice(None, None, 5), slice(3, 9, 2)))
        assert same(columns, tensors["layer3.weight"][::5, 3:9:2])
        assert columns.untyped_storage().nbytes() == columns.nbytes


@pytest.mark.parametrize(
    "index", [(slice(None, None, -1),), (slice(None, None, 0),), (slice(1),) * 3]
)
def test_impossible_slices_are_refused(path: Path, index: tuple[slice, ...]) -> None:
    with Direct().open(path) as reader, pytest.raises(ValueError, match="slice"):
        reader.read_slice("layer0.weight", index)


def test_reading_after_close_is_an_error(path: Path) -> None:
    reader = Direct().open(path)
    tensor = reader.read(["layer0.bias"])["layer0.bias"].clone()
    reader.close()
    reader.close()
    with pytest.raises(ValueError, match="after close"):
        reader.read()
    with pytest.raises(ValueError, match="after close"):
        reader.read_into({"layer0.bias": tensor})


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        Direct().open(tmp_path / "none.safetensors")
    with pytest.raises(IsADirectoryError):
        Direct().open(tmp_path)


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("left", [0, 5000, 3 * MIB + 17])
def test_a_file_truncated_meanwhile_is_corrupt(
    tmp_path: Path, tensors: dict[str, torch.Tensor], direct: bool, left: int
) -> None:
    path = tmp_path / "model.safetensors"
    Direct().write(tensors, path)
    with PositionedReader.open(path, direct=direct) as reader:
        os.truncate(path, left)
        with pytest.raises(CorruptFileError, match=r"model\.safetensors: ended at byte"):
            reader.read()
        with pytest.raises(CorruptFileError):
            reader.read_into({name: torch.empty_like(t) for name, t in tensors.items()})
    assert current().idle == CHUNKS, "a chunk was not returned"


@pytest.mark.parametrize("direct", [True, False])
def test_short_reads_are_continued(
    path: Path, tensors: dict[str, torch.Tensor], direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pread = raw_io.pread

    def short(descriptor: int, address: int, nbytes: int, offset: int) -> int:
        got = pread(descriptor, address, nbytes, offset)
        return max(min(got, 5000), got // 3)

    with PositionedReader.open(path, direct=direct) as reader:
        monkeypatch.setattr(raw_io, "pread", short)
        read = reader.read()
    assert all(same(read[name], tensors[name]) for name in tensors)


def test_a_device_error_names_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(descriptor: int, address: int, nbytes: int, offset: int) -> int:
        raise OSError(5, "Input/output error")

    with Direct().open(path) as reader:
        monkeypatch.setattr(raw_io, "pread", broken)
        with pytest.raises(OSError, match="Input/output error") as caught:
            reader.read()
    assert caught.value.filename == str(path)
    assert current().idle == CHUNKS


def test_no_direct_io_is_one_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.delattr(os, "O_DIRECT")
        with pytest.raises(UnsupportedError, match="no O_DIRECT; use policy 'pread'"):
            Direct().open(path)

    def refused(descriptor: int, address: int, nbytes: int, offset: int) -> int:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(raw_io, "pread", refused)
    with pytest.raises(UnsupportedError, match="refused a direct read"):
        Direct().open(path)


def test_many_threads_read_one_file_at_once(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    wrong: list[str] = []

    def read(reader: PositionedReader) -> None:
        for _ in range(3):
            read = reader.read()
            wrong.extend(name for name in tensors if not same(read[name], tensors[name]))
            release_arenas()

    with Direct().open(path) as reader:
        threads = [threading.Thread(target=read, args=(reader,)) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert current().idle == CHUNKS
