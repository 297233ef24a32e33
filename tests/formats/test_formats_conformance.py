"""What every format promises, checked on every format."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from format_cases import (
    DTYPES,
    assert_same,
    large_model,
    random_tensor,
    same_bits,
    small_model,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench_core import formats
from bench_core.errors import (
    CorruptFileError,
    MissingExtraError,
    TensorMismatchError,
    TensorNotFoundError,
    UnknownNameError,
    UnsupportedError,
)
from bench_core.formats import Durability, Format, TensorSpec

QUICK = Durability.RETURN


def write(format_: Format, tensors: formats.Tensors, folder: Path, name: str = "model") -> Path:
    path = folder / f"{name}{format_.suffix}"
    format_.write(tensors, path, QUICK)
    return path


def test_reads_what_was_written(any_format: Format, tmp_path: Path) -> None:
    model = small_model()
    with any_format.open(write(any_format, model, tmp_path)) as reader:
        assert_same(reader.read(), model)
        assert dict(reader.specs) == {name: TensorSpec.of(t) for name, t in model.items()}


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    specs=st.dictionaries(
        st.text(max_size=20).filter(lambda name: name != "__metadata__"),
        st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 5), max_size=3).map(tuple)),
        max_size=6,
    ),
    seed=st.integers(0, 99),
)
def test_any_names_shapes_and_types(
    any_format: Format,
    tmp_path: Path,
    specs: dict[str, tuple[torch.dtype, tuple[int, ...]]],
    seed: int,
) -> None:
    model = {name: random_tensor(dtype, shape, seed) for name, (dtype, shape) in specs.items()}
    with any_format.open(write(any_format, model, tmp_path)) as reader:
        assert_same(reader.read(), model)
        destinations = {name: torch.zeros_like(tensor) for name, tensor in model.items()}
        reader.read_into(destinations)
    assert_same(destinations, model)


def test_reads_the_named_tensors_only(any_format: Format, tmp_path: Path) -> None:
    model = small_model()
    with any_format.open(write(any_format, model, tmp_path)) as reader:
        names = ["layer2.bias", "as.torch.bfloat16", "counter"]
        read = reader.read(names)
        assert list(read) == names
        assert_same(read, {name: model[name] for name in names})
        assert reader.read([]) == {}


def test_missing_name_suggests_the_nearest(any_format: Format, tmp_path: Path) -> None:
    path = write(any_format, small_model(), tmp_path)
    with any_format.open(path) as reader:
        for read in (
            lambda: reader.read(["counter", "layer1.wieght"]),
            lambda: reader.read_slice("layer1.wieght", (slice(2),)),
            lambda: reader.read_into({"layer1.wieght": torch.zeros(1)}),
        ):
            with pytest.raises(TensorNotFoundError, match=r"did you mean 'layer1.weight'") as error:
                read()
            assert str(path) in str(error.value)


SLICES = [
    (),
    (slice(None),),
    (slice(3, 9),),
    (slice(-4, None),),
    (slice(1, 14, 3), slice(2, 20, 5)),
    (slice(None), slice(7)),
    (slice(5, 5),),
    (slice(9, 2), slice(1, 8, 2)),
    (slice(100, 200),),
]


def test_reads_slices(any_format: Format, tmp_path: Path) -> None:
    model = small_model()
    with any_format.open(write(any_format, model, tmp_path)) as reader:
        for name in ("layer0.weight", "as.torch.bfloat16"):
            for index in SLICES:
                assert same_bits(reader.read_slice(name, index), model[name][index]), index


def test_slices_of_scalars_and_of_nothing(any_format: Format, tmp_path: Path) -> None:
    model = small_model()
    with any_format.open(write(any_format, model, tmp_path)) as reader:
        assert same_bits(reader.read_slice("counter", ()), model["counter"])
        assert reader.read_slice("empty", (slice(0, 4), slice(1, 2))).shape == (0, 1)


def test_refuses_senseless_slices(any_format: Format, tmp_path: Path) -> None:
    path = write(any_format, small_model(), tmp_path)
    with any_format.open(path) as reader:
        for index in ((slice(None, None, -1),), (slice(1),) * 3):
            with pytest.raises(ValueError, match="slice"):
                reader.read_slice("layer0.weight", index)


def test_fills_existing_tensors(any_format: Format, tmp_path: Path) -> None:
    model = {"plain": torch.rand(4, 6), "turned": torch.rand(6, 4), "learned": torch.rand(3)}
    parameter = torch.nn.Parameter(torch.zeros(3))
    destinations = {
        "plain": torch.zeros(4, 6),
        "turned": torch.zeros(4, 6).t(),
        "learned": parameter,
    }
    addresses = {name: tensor.data_ptr() for name, tensor in destinations.items()}
    with any_format.open(write(any_format, model, tmp_path)) as reader:
        reader.read_into(destinations)
    assert_same({name: tensor.detach() for name, tensor in destinations.items()}, model)
    assert {name: tensor.data_ptr() for name, tensor in destinations.items()} == addresses
    assert parameter.requires_grad


@pytest.mark.parametrize(
    "wrong", [torch.zeros(24, 16), torch.zeros(16, 24, dtype=torch.float64)], ids=["shape", "type"]
)
def test_refuses_destinations_that_differ(
    any_format: Format, tmp_path: Path, wrong: torch.Tensor
) -> None:
    right = torch.zeros(24)
    path = write(any_format, small_model(), tmp_path)
    with (
        any_format.open(path) as reader,
        pytest.raises(TensorMismatchError, match=r"'layer0.weight'.*in the file, the destination"),
    ):
        reader.read_into({"layer0.bias": right, "layer0.weight": wrong})
    assert not right.any()


def test_closed_reader_refuses_and_its_tensors_stay(any_format: Format, tmp_path: Path) -> None:
    model = small_model()
    reader = any_format.open(write(any_format, model, tmp_path))
    read = reader.read()
    assert not reader.closed
    reader.check_open()
    reader.close()
    reader.close()
    assert reader.closed
    assert_same(read, model)
    for use in (
        reader.check_open,
        lambda: reader.read([]),
        lambda: reader.read(["counter"]),
        lambda: reader.read_slice("layer0.weight", (slice(2),)),
        lambda: reader.read_into({}),
        lambda: reader.read_into({"counter": torch.zeros((), dtype=torch.int64)}),
    ):
        with pytest.raises(ValueError, match="read after close; open the file again"):
            use()


def test_views_ties_and_turned_tensors(any_format: Format, tmp_path: Path) -> None:
    shared = torch.rand(1000, 100)
    model = {
        "row": shared[3],
        "turned": torch.rand(5, 8).t(),
        "strided": torch.rand(10, 10)[::2, 1::3],
        "tied": shared[10:12],
        "tied again": shared[10:12],
        "expanded": torch.rand(1, 4).expand(3, 4),
    }
    path = write(any_format, model, tmp_path)
    with any_format.open(path) as reader:
        assert_same(reader.read(), model)
    stored = sum(file.stat().st_size for file in any_format.files(path))
    assert stored < shared.nbytes, "the storage behind a view was written too"


def test_parameters_are_written(any_format: Format, tmp_path: Path) -> None:
    layer = torch.nn.Linear(3, 2)
    path = write(any_format, dict(layer.named_parameters()), tmp_path)
    with any_format.open(path) as reader:
        read = reader.read()
    assert_same(read, {name: tensor.detach() for name, tensor in layer.named_parameters()})
    assert not read["weight"].requires_grad


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_tensors_on_a_device(any_format: Format, tmp_path: Path) -> None:
    model = {"weight": torch.rand(50, 40), "bias": torch.rand(9).to(torch.bfloat16)}
    on_device = {name: tensor.cuda() for name, tensor in model.items()}
    destinations = {name: torch.zeros_like(tensor) for name, tensor in on_device.items()}
    with any_format.open(write(any_format, on_device, tmp_path)) as reader:
        assert_same(reader.read(), model)
        reader.read_into(destinations)
    assert_same({name: tensor.cpu() for name, tensor in destinations.items()}, model)


@pytest.mark.parametrize(
    "tensor", [torch.eye(3).to_sparse(), torch.empty(3, device="meta")], ids=["sparse", "meta"]
)
def test_refuses_tensors_without_plain_data(
    any_format: Format, tmp_path: Path, tensor: torch.Tensor
) -> None:
    with pytest.raises(UnsupportedError):
        any_format.write({"odd": tensor}, tmp_path / f"model{any_format.suffix}", QUICK)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_model(any_format: Format, tmp_path: Path) -> None:
    with any_format.open(write(any_format, {}, tmp_path)) as reader:
        assert reader.read() == {}
        assert dict(reader.specs) == {}


def test_many_tiny_tensors(any_format: Format, tmp_path: Path) -> None:
    model = {f"block.{i}.weight": torch.full((i % 7,), float(i)) for i in range(400)}
    with any_format.open(write(any_format, model, tmp_path)) as reader:
        assert_same(reader.read(), model)


def test_result_of_a_write(file_format: Format, tmp_path: Path) -> None:
    model = small_model()
    path = tmp_path / f"model{file_format.suffix}"
    for durability in Durability:
        result = file_format.write(model, path, durability)
        assert result.path == path
        assert result.bytes_logical == sum(tensor.nbytes for tensor in model.values())
        assert result.bytes_physical == sum(f.stat().st_size for f in file_format.files(path))
        assert result.bytes_physical >= result.bytes_logical
        assert 0 < result.return_ns <= result.durable_ns
        if durability is Durability.RETURN:
            assert result.return_ns == result.durable_ns
        assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_files_have_the_permissions_of_other_new_files(file_format: Format, tmp_path: Path) -> None:
    path = write(file_format, small_model(), tmp_path)
    usual = tmp_path / "usual"
    usual.touch()
    for file in file_format.files(path):
        assert file.stat().st_mode == usual.stat().st_mode, file


def test_layouts_are_shared(
    file_format: Format, tmp_path: Path, get_format: Callable[[str], Format]
) -> None:
    model = small_model()
    path = write(file_format, model, tmp_path)
    others = [formats.get(name) for name in formats.names()]
    for other in others:
        if other.layout == file_format.layout:
            with get_format(other.name).open(path) as reader:
                assert_same(reader.read(), model)


def test_a_reader_of_a_replaced_file_sees_one_model(any_format: Format, tmp_path: Path) -> None:
    """The old file stays whole for those who have it open; formats that cannot, say so."""
    old, new = large_model(1, megabytes=2), large_model(2, megabytes=2)
    path = write(any_format, old, tmp_path)
    reader = any_format.open(path)
    lazy = reader.read() if any_format.is_lazy else {}
    write(any_format, new, tmp_path)
    with reader:
        try:
            read = reader.read()
        except CorruptFileError as error:
            assert "replaced" in str(error)
        else:
            assert_same(read, old)
    assert_same(lazy, old if lazy else {})
    with any_format.open(path) as reader:
        assert_same(reader.read(), new)


def test_two_readers_of_one_file(any_format: Format, tmp_path: Path) -> None:
    model = small_model()
    path = write(any_format, model, tmp_path)
    with any_format.open(path) as first:
        with any_format.open(path) as second:
            assert_same(second.read(), model)
        assert_same(first.read(), model)


def test_nothing_at_the_path(any_format: Format, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        any_format.open(tmp_path / f"nowhere{any_format.suffix}")


@pytest.mark.parametrize("content", [b"", b"hello\n", b"\0" * 5000, b"PK\x03\x04" + b"x" * 5000])
def test_foreign_files(file_format: Format, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / f"foreign{file_format.suffix}"
    path.write_bytes(content)
    with pytest.raises(CorruptFileError) as error, file_format.open(path) as reader:
        reader.read()
    assert str(path) in str(error.value)


def test_a_foreign_folder(file_format: Format, tmp_path: Path) -> None:
    path = tmp_path / f"foreign{file_format.suffix}"
    path.mkdir()
    (path / "notes.txt").write_text("mine")
    with (
        pytest.raises((CorruptFileError, IsADirectoryError), match="foreign"),
        file_format.open(path) as reader,
    ):
        reader.read()
    with pytest.raises(OSError, match="choose another name"):
        file_format.write(small_model(), path, QUICK)
    assert [entry.name for entry in path.iterdir()] == ["notes.txt"]


def test_a_missing_library_names_its_extra(
    any_format: Format, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if any_format.library is None:
        assert any_format.extra is None
        return
    monkeypatch.setitem(sys.modules, any_format.library, None)
    path = tmp_path / f"model{any_format.suffix}"
    uses = [any_format.check_available, lambda: any_format.open(path)]
    if any_format.is_writer:
        uses.append(lambda: any_format.write({}, path, QUICK))
    for use in uses:
        with pytest.raises(
            MissingExtraError, match=r"pip install 'bench-core\[storage\]'"
        ) as error:
            use()
        assert any_format.library in str(error.value)


def test_names_and_writers() -> None:
    assert set(formats.writers()) < set(formats.names())
    assert {"torch", "safetensors", "hdf5", "direct", "redis"} <= set(formats.writers())
    assert "runai" not in formats.writers()
    for name in formats.names():
        assert formats.get(name).name == name
    with pytest.raises(UnknownNameError, match="did you mean 'safetensors'"):
        formats.get("safetensor")


def test_formats_are_found_without_their_libraries() -> None:
    program = (
        "import sys\n"
        "for name in 'h5py lmdb tensorstore redis fastsafetensors runai_model_streamer'.split():\n"
        "    sys.modules[name] = None\n"
        "from bench_core import formats\n"
        "print(len([formats.get(name) for name in formats.names()]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    assert int(done.stdout) == len(formats.names())
