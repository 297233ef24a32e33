"""What Direct writes safetensors reads, and the other way round, bit by bit."""

from __future__ import annotations

import json
import struct
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from bench_core.errors import SaveError, UnsupportedError
from bench_core.formats import Durability
from bench_core.formats.direct import Direct
from bench_core.formats.direct.reader import PositionedReader
from bench_core.formats.dtypes import DTYPES

PAGE = 4096


def random_tensor(shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    """Any bits: among floats also NaNs and infinities."""
    count = torch.Size(shape).numel() * dtype.itemsize
    bits = torch.randint(0, 256, (count,), generator=torch.Generator().manual_seed(seed))
    if dtype is torch.bool:
        bits %= 2
    return bits.to(torch.uint8).view(dtype).view(shape)


def assert_same(ours: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert set(ours) == set(expected)
    for name, tensor in expected.items():
        assert ours[name].dtype == tensor.dtype, name
        assert ours[name].shape == tensor.shape, name
        ours_bytes = ours[name].contiguous().view(-1).view(torch.uint8)
        assert torch.equal(ours_bytes, tensor.contiguous().view(-1).view(torch.uint8)), name


def header_of(path: Path) -> tuple[dict[str, dict[str, object]], int]:
    content = path.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    return json.loads(content[8 : 8 + length]), 8 + length


ALL_TYPES = {
    f"{name}.{i}": random_tensor(shape, dtype, i)
    for name, dtype in DTYPES.items()
    for i, shape in enumerate([(), (0,), (5,), (3, 0, 2), (7, 3), (64, 64), (1, 2, 3, 4)])
}


def test_every_type_and_shape_is_read_by_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    result = Direct().write(ALL_TYPES, path)
    assert_same(load_file(path), ALL_TYPES)
    assert result.path == path
    assert result.bytes_logical == sum(tensor.nbytes for tensor in ALL_TYPES.values())
    assert result.bytes_physical == path.stat().st_size
    assert 0 < result.return_ns <= result.durable_ns


@pytest.mark.parametrize("direct", [True, False])
def test_every_type_and_shape_of_safetensors_is_read(tmp_path: Path, direct: bool) -> None:
    path = tmp_path / "model.safetensors"
    save_file(ALL_TYPES, path, metadata={"k": "v"})
    with PositionedReader.open(path, direct=direct) as reader:
        assert reader.header.metadata == {"k": "v"}
        assert_same(reader.read(), ALL_TYPES)
        assert_same(reader.read(["F32.4"]), {"F32.4": ALL_TYPES["F32.4"]})


shapes = st.lists(st.integers(0, 70), max_size=3).map(tuple)
models = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(
        lambda name: name != "__metadata__"
    ),
    st.builds(random_tensor, shapes, st.sampled_from(list(DTYPES.values())), st.integers(0, 2**31)),
    max_size=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tensors=models, direct=st.booleans())
def test_any_model_comes_back(tensors: dict[str, torch.Tensor], direct: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder, "ours.safetensors"), Path(folder, "theirs.safetensors")
        Direct().write(tensors, ours, Durability.RETURN)
        save_file(tensors, theirs)
        assert_same(load_file(ours), tensors)
        for path in (ours, theirs):
            with PositionedReader.open(path, direct=direct) as reader:
                assert_same(reader.read(), tensors)
                some = list(tensors)[::2]
                assert_same(reader.read(some), {name: tensors[name] for name in some})
                into = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
                reader.read_into(into)
                assert_same(into, tensors)


@pytest.mark.parametrize("direct", [True, False])
def test_tensors_around_the_sizes_of_chunks_and_slabs(tmp_path: Path, direct: bool) -> None:
    chunk, slab = 2 << 20, 32 << 20
    sizes = [64 << 10, chunk - 1, chunk, chunk + 1, 3 * chunk + 517, slab - PAGE, 1, slab + 513]
    tensors = {f"t{i}": random_tensor((n,), torch.uint8, i) for i, n in enumerate(sizes)}
    path = tmp_path / "model.safetensors"
    Direct().write(tensors, path)
    with PositionedReader.open(path, direct=direct) as reader:
        assert_same(reader.read(), tensors)
        assert_same(reader.read(["t4", "t0"]), {name: tensors[name] for name in ("t0", "t4")})
    with safe_open(path, "pt") as file:
        assert_same({name: file.get_tensor(name) for name in tensors}, tensors)


@pytest.mark.parametrize("direct", [True, False])
def test_large_misaligned_tensors_are_moved(tmp_path: Path, direct: bool) -> None:
    """Three bytes before them shift whatever follows; no writer does that, the format allows it."""
    tensors = {
        "bytes": random_tensor((3,), torch.uint8, 1),
        "large": random_tensor((200_000,), torch.float32, 2),
        "larger": random_tensor((300_000,), torch.float64, 3),
        "end": random_tensor((5,), torch.uint8, 4),
    }
    header, data = {}, b""
    for (name, tensor), code in zip(tensors.items(), ["U8", "F32", "F64", "U8"], strict=True):
        begin = len(data)
        data += tensor.view(torch.uint8).numpy().tobytes()
        shape = list(tensor.shape)
        header[name] = {"dtype": code, "shape": shape, "data_offsets": [begin, len(data)]}
    text = json.dumps(header).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    with PositionedReader.open(path, direct=direct) as reader:
        read = reader.read()
        assert_same(read, tensors)
        assert all(tensor.data_ptr() % tensor.itemsize == 0 for tensor in read.values())
        into = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
        reader.read_into(into)
        assert_same(into, tensors)


def test_the_data_and_whole_pages_start_at_pages(tmp_path: Path) -> None:
    tensors = {
        "odd": torch.ones(3),
        "pages": torch.ones(2048),
        "half": torch.ones(5, dtype=torch.float16),
        "bytes": torch.ones(7, dtype=torch.uint8),
        "more_pages": torch.ones(1024, 3, dtype=torch.float64),
        "wide": torch.ones(3, dtype=torch.float64),
    }
    path = tmp_path / "model.safetensors"
    Direct().write(tensors, path)
    header, data_begin = header_of(path)
    assert header.pop("__metadata__") == {"format": "pt"}
    assert data_begin % PAGE == 0
    offsets = {name: fields["data_offsets"][0] for name, fields in header.items()}
    in_file = sorted(offsets, key=offsets.__getitem__)
    assert in_file == ["pages", "more_pages", "wide", "odd", "half", "bytes"]
    assert offsets["pages"] % PAGE == offsets["more_pages"] % PAGE == 0
    assert all(offsets[name] % tensors[name].itemsize == 0 for name in tensors)


def test_values_that_memory_does_not_hold_in_order(tmp_path: Path) -> None:
    base = torch.randn(300, 200)
    numbers = torch.randn(8, dtype=torch.complex64)
    tensors = {
        "transposed": base.t(),
        "strided": base[::3, ::2],
        "expanded": torch.tensor([1.5]).expand(4, 3),
        "conjugate": numbers.conj(),
        "negative": numbers.conj().imag,
        "parameter": torch.nn.Parameter(torch.randn(3)),
        "tied": base,
        "tied_too": base,
    }
    path = tmp_path / "model.safetensors"
    Direct().write(tensors, path)
    loaded = load_file(path)
    for name, tensor in tensors.items():
        assert torch.equal(loaded[name], tensor), name


def test_what_is_read_is_ordinary_tensors(tmp_path: Path) -> None:
    """Each has a storage of its own, can be changed, and can be saved again."""
    tensors = {"a": torch.randn(70, 70), "b": torch.randn(512, 512), "c": torch.randn(3)}
    path, again = tmp_path / "model.safetensors", tmp_path / "again.safetensors"
    Direct().write(tensors, path)
    with Direct().open(path) as reader:
        read = reader.read()
    for name, tensor in read.items():
        assert tensor.untyped_storage().nbytes() == tensors[name].nbytes
    save_file(read, again)
    Direct().write(read, path)
    assert_same(load_file(path), tensors)
    read["a"].add_(1)
    assert torch.equal(read["a"], tensors["a"] + 1)
    assert_same(load_file(again), tensors)


def test_the_padding_of_the_last_block_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    Direct().write({"t": torch.ones(5, dtype=torch.uint8)}, path)
    assert path.stat().st_size == PAGE + 5


@pytest.mark.parametrize("level", list(Durability))
def test_every_durability_level_replaces_the_old_file(tmp_path: Path, level: Durability) -> None:
    path = tmp_path / "model.safetensors"
    Direct().write({"old": torch.ones(3)}, path)
    mapped = load_file(path)
    Direct().write({"new": torch.zeros(3)}, path, level)
    assert list(load_file(path)) == ["new"]
    assert torch.equal(mapped["old"], torch.ones(3))
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"x": torch.ones(3, device="meta")}, "meta"),
        ({"x": torch.eye(3).to_sparse()}, "sparse"),
        ({"x": torch.ones(3, dtype=torch.complex128)}, "complex128"),
        ({"__metadata__": torch.ones(3)}, "__metadata__"),
        ({"\ud800": torch.ones(3)}, "Unicode"),
    ],
)
def test_what_cannot_be_stored_is_said(
    tmp_path: Path, tensors: dict[str, torch.Tensor], words: str
) -> None:
    with pytest.raises(UnsupportedError, match=words):
        Direct().write(tensors, tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SaveError) as caught:
        Direct().write({"x": torch.ones(3)}, tmp_path / "none" / "model.safetensors")
    assert "\n" not in str(caught.value)
