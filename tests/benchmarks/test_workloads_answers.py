"""A wrong answer is a failed sample, cold is cold, and ideal times follow from the limits."""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from bench_core.errors import MissingExtraError
from bench_core.formats.safetensors_file import SafetensorsMmap
from benchmarks import layer_loading, storage_writes
from benchmarks.background_writes import AsyncSave
from benchmarks.first_use import FirstForward, embeddings
from benchmarks.instrument import CacheDrop
from benchmarks.layer_loading import ModelSwitching, OneLayer, Scattered, WholeModel
from benchmarks.support import common, loaders
from benchmarks.support.loaders import FormatLoader
from harness import cache
from harness.benchmark import Benchmark
from harness.errors import WrongResultError
from harness.limits import Limits
from harness.records import Record

MODEL = "stack_4x64KiB"
BYTES = 4 * 64 * 1024


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_CORE_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def sample(benchmark: Benchmark, *values: Any) -> Record:
    (method,) = (name for name in dir(benchmark) if name.startswith("time_"))
    return benchmark.sample(method, *values)


def flip_last_bit(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    last = list(tensors.values())[-1]
    last.view(torch.uint8)[-1][-1] ^= 1
    return tensors


@pytest.mark.parametrize("destination", ["fresh", "existing"])
@pytest.mark.parametrize("state", ["warm", "cold_file"])
def test_one_wrong_bit_fails_a_load(
    destination: str, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, load_into = FormatLoader.load, FormatLoader.load_into

    def wrong(self: FormatLoader, *arguments: Any) -> dict[str, torch.Tensor]:
        return flip_last_bit(load(self, *arguments))

    def wrong_into(self: FormatLoader, tensors: dict[str, torch.Tensor], path: Path) -> None:
        load_into(self, tensors, path)
        flip_last_bit(tensors)

    monkeypatch.setattr(FormatLoader, "load", wrong)
    monkeypatch.setattr(FormatLoader, "load_into", wrong_into)
    record = sample(WholeModel(), "safetensors", state, destination, MODEL)
    assert record.status == "failed"
    assert record.reason == "1 tensors differ, the first is 'layers.3.weight'"
    assert record.value is None


def test_a_load_that_fills_nothing_fails_though_the_sample_before_it_was_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    benchmark = WholeModel()
    values = ("safetensors", "warm", "existing", MODEL)
    assert sample(benchmark, *values).status == "ok"
    monkeypatch.setattr(FormatLoader, "load_into", lambda self, tensors, path: None)
    record = sample(benchmark, *values)
    assert (record.status, record.reason) == (
        "failed",
        "4 tensors differ, the first is 'layers.0.weight'",
    )


def test_a_load_that_leaves_a_tensor_out_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    load = FormatLoader.load

    def short(self: FormatLoader, *arguments: Any) -> dict[str, torch.Tensor]:
        return dict(list(load(self, *arguments).items())[1:])

    monkeypatch.setattr(FormatLoader, "load", short)
    record = sample(WholeModel(), "safetensors", "warm", "fresh", MODEL)
    assert record.reason == "1 names differ, the first is 'layers.0.weight'"


def test_a_write_of_wrong_bytes_fails_and_leaves_nothing(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = SafetensorsMmap.write

    def wrong(self: SafetensorsMmap, tensors: Any, path: Path, durability: Any) -> Any:
        copies = {name: tensor.clone() for name, tensor in tensors.items()}
        return write(self, flip_last_bit(copies), path, durability)

    monkeypatch.setattr(SafetensorsMmap, "write", wrong)
    record = sample(storage_writes.DurableWrite(), "safetensors", MODEL, "fsync_dir")
    assert (record.status, record.value) == ("failed", None)
    assert not list(data.rglob("written*"))


def test_a_write_states_return_and_size(data: Path) -> None:
    record = sample(storage_writes.DurableWrite(), "safetensors", MODEL, "fsync_dir")
    assert record.status == "ok"
    assert record.value is not None
    assert record.return_seconds is not None
    assert 0 < record.return_seconds <= record.value
    assert record.bytes == BYTES
    assert record.extra["bytes_on_disk"] > BYTES


def test_a_missing_library_is_a_skip_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(self: SafetensorsMmap) -> None:
        raise MissingExtraError("x is not installed; install it with: pip install 'bench-core[x]'")

    monkeypatch.setattr(SafetensorsMmap, "check_available", missing)
    record = sample(WholeModel(), "safetensors", "warm", "fresh", MODEL)
    assert record.status == "skipped"
    assert "pip install 'bench-core[x]'" in str(record.reason)


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="there is no /dev/shm here")
def test_cold_is_refused_in_memory_and_warm_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        monkeypatch.setenv("BENCH_CORE_DATA", folder)
        for cold in (
            sample(WholeModel(), "safetensors", "cold_file", "fresh", MODEL),
            storage_writes.RoundTrip().sample("track_round_trip", "safetensors", MODEL, "no"),
        ):
            assert cold.status == "skipped"
            assert "means nothing here" in str(cold.reason)
        warm = sample(WholeModel(), "safetensors", "warm", "fresh", MODEL)
        assert (warm.status, warm.reason) == ("ok", None)


@pytest.mark.parametrize("format", ["auto", "safetensors", "safetensors_pread", "torch_mmap"])
def test_cold_loads_are_proved_or_refused(format: str) -> None:
    record = sample(WholeModel(), format, "cold_file", "fresh", "stack_4x1MiB")
    if record.status == "skipped":
        pytest.skip(str(record.reason))
    assert (record.status, record.reason) == ("ok", None)
    assert record.cache is not None
    assert record.cache["proved"]
    assert record.cache["resident_before"] <= 0.01
    assert record.cache["read_bytes"] >= 0.95 * (4 << 20)


def test_a_mapped_model_has_been_read_when_its_load_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the reading through, only what the kernel reads ahead has come."""
    values = ("torch_mmap", "cold_file", "fresh", "stack_4x8MiB")
    if sample(WholeModel(), *values).status == "skipped":
        pytest.skip("nothing can be made cold here")
    monkeypatch.setattr(loaders, "read_through", lambda tensors: None)
    record = sample(WholeModel(), *values)
    assert record.status == "unproved"
    assert "came from the device" in str(record.reason)


@pytest.mark.parametrize("nbytes", [4, 4096, loaders.SMALL, loaders.SMALL + 4, 1 << 20])
def test_reading_through_touches_every_page(tmp_path: Path, nbytes: int) -> None:
    path = tmp_path / "bytes"
    path.write_bytes(bytes(nbytes))
    if (before := cache.prepare([path], "cold_file")).doubt is not None:
        pytest.skip(before.doubt)
    mapped = torch.from_file(str(path), shared=False, size=nbytes // 4, dtype=torch.float32)
    loaders.read_through({"all": mapped, "none": torch.empty(0)})
    assert cache._resident_fraction([path])[0] == 1.0


RATES = Limits(
    sequential_read=2.0,
    read_into_fresh=1.0,
    memcpy_all_threads=8.0,
    memcpy_fresh=4.0,
    sequential_write=32.0,
    sequential_write_new=16.0,
    random_read_4k=1e-9,
    fsync_seconds=1e9,
)


@pytest.mark.parametrize(
    ("format", "state", "destination", "rate"),
    [
        ("direct", "cold_file", "existing", 2.0),
        ("direct", "cold_file", "fresh", 1.0),
        ("direct", "warm", "existing", 8.0),
        ("direct", "warm", "fresh", 4.0),
        ("safetensors", "cold_file", "fresh", 2.0),
        ("safetensors", "warm", "fresh", 16.0),
        ("safetensors", "warm", "existing", 8.0),
        ("auto", "cold_file", "fresh", 1.0),
        ("auto", "warm", "fresh", 16.0),
    ],
)
def test_the_ideal_of_a_load_is_its_bytes_at_the_limit_of_its_state(
    format: str, state: str, destination: str, rate: float
) -> None:
    benchmark = WholeModel()
    benchmark.prepare(format, state, destination, MODEL)
    assert benchmark.ideal_seconds(RATES) == BYTES / rate


def test_the_ideal_of_a_layer_is_at_least_one_access() -> None:
    benchmark = OneLayer()
    benchmark.prepare("direct", "cold_file", "middle", MODEL)
    assert benchmark.needed_bytes() == BYTES / 4
    assert benchmark.ideal_seconds(RATES) == pytest.approx(1e9)
    fast = Limits(sequential_read=2.0, random_read_4k=1e9)
    assert benchmark.ideal_seconds(fast) == BYTES / 4 / 2.0
    assert benchmark.ideal_seconds(Limits(sequential_read=2.0)) is None


def test_the_ideal_of_a_durable_write_is_that_of_a_new_file() -> None:
    assert storage_writes.durable_seconds(RATES, 160) == 10.0
    assert storage_writes.durable_seconds(Limits(sequential_write=32.0), 160) == 5.0
    assert storage_writes.durable_seconds(Limits(), 160) is None
    price = storage_writes.DurabilityPrice()
    price.prepare("return", "safetensors", MODEL)
    assert price.ideal_seconds(RATES) is None


def test_a_file_a_tensor_needs_a_sync_a_tensor() -> None:
    benchmark = storage_writes.TensorSizes()
    benchmark.prepare("safetensors", "one_per_tensor", MODEL)
    assert benchmark.ideal_seconds(RATES) == 4e9
    benchmark.clean()


@pytest.mark.parametrize(("position", "name"), [("first", 0), ("middle", 1), ("last", 3)])
def test_a_layer_is_read_from_its_position(position: str, name: int) -> None:
    benchmark = OneLayer()
    benchmark.prepare("safetensors", "warm", position, MODEL)
    assert list(benchmark.expected) == [f"layers.{name}.weight"]


def test_scattered_tensors_lie_in_as_many_files_as_owners() -> None:
    benchmark = Scattered()
    benchmark.prepare("safetensors", "warm", 3, MODEL)
    assert len(benchmark.files()) == 3
    assert sum(path.stat().st_size for path in benchmark.files()) > BYTES
    assert set(benchmark.owner_map) == set(benchmark.expected)
    assert len(set(benchmark.owner_map.values())) == 3


def test_switching_never_loads_the_model_that_is_there() -> None:
    order = layer_loading.switch_order(4, 200)
    assert len(order) == 200
    assert all(a != b for a, b in itertools.pairwise(order))
    assert set(order) == {0, 1, 2, 3}
    assert order[:50] == layer_loading.switch_order(4, 50)


def test_contenders_of_one_round_switch_to_the_same_model() -> None:
    loaded = []
    for format in ("safetensors", "torch"):
        benchmark = ModelSwitching()
        benchmark.round = 5
        benchmark.prepare(format, "warm", 4, MODEL)
        loaded.append(benchmark.expected)
    common.require_equal(*loaded)


def test_a_background_save_is_of_the_values_at_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    record = AsyncSave().sample("time_blocked", "thread", MODEL)
    assert (record.status, record.reason) == ("ok", None)
    trained = AsyncSave().sample("time_beside_training", "thread", MODEL)
    assert trained.bytes is None
    assert trained.extra["times"]["training alone"] > 0


def test_a_drop_that_leaves_pages_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = CacheDrop()
    record = benchmark.sample("track_resident", "warm", 1)
    assert record.status == "failed"
    assert "100.0% of the pages is resident after the drop" in str(record.reason)


def test_the_folder_of_a_process_goes_with_it_and_that_of_a_dead_one_with_the_next(
    data: Path,
) -> None:
    script = (
        "import os, signal, sys\n"
        "from benchmarks.support.common import process_folder\n"
        "(process_folder() / 'file').write_text('x')\n"
        "print(process_folder(), flush=True)\n"
        "if sys.argv[1] == 'dies':\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )

    def folder_of(how: str) -> Path:
        command = [sys.executable, "-c", script, how]
        root = Path(__file__).parents[2]
        done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
        return Path(done.stdout.strip())

    dead = folder_of("dies")
    assert (dead / "file").exists()
    ended = folder_of("ends")
    assert ended.parent == dead.parent == data / "processes"
    assert not ended.exists()
    assert not dead.exists()


@pytest.mark.parametrize("cls", [WholeModel, FirstForward, ModelSwitching])
def test_inputs_of_another_seed_are_other_inputs_and_right(cls: type[Benchmark]) -> None:
    expected = []
    for seed in (1, 0):
        benchmark = cls()
        benchmark.seed = seed
        values = {WholeModel: ("fresh",), ModelSwitching: (3,)}.get(cls, ())
        record = sample(benchmark, "torch", "warm", *values, MODEL)
        assert (record.status, record.reason, record.seed) == ("ok", None, seed)
        expected.append(benchmark.reference(MODEL))
    with pytest.raises(WrongResultError):
        common.require_equal(*expected)


def test_of_embeddings_a_forward_pass_reads_some_rows() -> None:
    inner = torch.nn.Sequential(torch.nn.Embedding(4, 2), torch.nn.Linear(2, 2))
    assert embeddings(torch.nn.Sequential(inner)) == {"0.0.weight"}


def test_poison_leaves_no_right_value() -> None:
    tensors: Mapping[str, torch.Tensor] = {"a": torch.zeros(3), "b": torch.zeros(2, 2).bfloat16()}
    common.poison(tensors)
    for tensor in tensors.values():
        assert (tensor.view(-1).view(torch.uint8) == 0xA5).all()
