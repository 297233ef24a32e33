"""load(): every policy gives the same tensors, and says clearly what it cannot do."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
import torch
from loading_cache import evict_or_skip
from safetensors.torch import save_file

from bench_core import formats
from bench_core.errors import (
    CorruptFileError,
    TensorNotFoundError,
    UnknownNameError,
    UnsupportedError,
)
from bench_core.formats.direct import Direct
from bench_core.layer_loading import POLICIES, load, load_timed
from bench_core.layer_loading.mapped import MappedReader
from bench_core.layer_loading.policies import open_reader

TENSORS = {
    "embedding": torch.randn(3000, 200),
    "half": torch.randn(77, 3).to(torch.bfloat16),
    "scalar": torch.tensor(3),
    "empty": torch.empty(0, 4),
    "flags": torch.tensor([True, False, True]),
    "float8": torch.randn(100).to(torch.float8_e4m3fn),
}


@pytest.fixture(params=["direct", "safetensors"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Files of both writers: ours are aligned, those of safetensors are not."""
    path = tmp_path / "model.safetensors"
    if request.param == "direct":
        Direct().write(TENSORS, path)
    else:
        save_file(TENSORS, path)
    return path


def assert_same(read: dict[str, torch.Tensor], names: list[str]) -> None:
    assert list(read) == names
    for name in names:
        expected = TENSORS[name]
        assert read[name].shape == expected.shape
        assert read[name].dtype == expected.dtype
        ours = read[name].reshape(-1).view(torch.uint8)
        assert torch.equal(ours, expected.reshape(-1).view(torch.uint8)), name


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_gives_the_same_tensors(path: Path, policy: str) -> None:
    with Direct().open(path) as reader:
        in_file = list(reader.specs)
    assert_same(load(path, policy=policy), in_file)
    assert_same(load(str(path), ["float8", "embedding"], policy=policy), ["float8", "embedding"])
    assert load(path, [], policy=policy) == {}


@pytest.mark.parametrize("policy", POLICIES)
def test_loaded_tensors_can_be_changed_and_the_file_stays(path: Path, policy: str) -> None:
    before = path.read_bytes()
    tensor = load(path, ["embedding"], policy=policy)["embedding"]
    tensor.zero_()
    assert path.read_bytes() == before
    assert_same(load(path, ["embedding"], policy=policy), ["embedding"])


@pytest.mark.parametrize("policy", POLICIES)
def test_a_missing_name_suggests_the_nearest(path: Path, policy: str) -> None:
    with pytest.raises(TensorNotFoundError, match="did you mean 'embedding'"):
        load(path, ["half", "embeding"], policy=policy)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_corrupt_file_is_named_and_closed(path: Path, policy: str) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    before = open_files()
    with pytest.raises(CorruptFileError, match=r"model\.safetensors"):
        load(path, policy=policy)
    with pytest.raises(FileNotFoundError):
        load(path.with_name("none.safetensors"), policy=policy)
    assert open_files() == before


def test_an_unknown_policy_suggests_the_nearest(path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown policy 'dirct'.*did you mean 'direct'"):
        load(path, policy="dirct")


def test_auto_reads_directly_what_is_cold_and_maps_what_is_warm(path: Path) -> None:
    evict_or_skip(path)
    tensors, result = load_timed(path)
    assert result.policy == "direct"
    _, result = load_timed(path, ["embedding"])
    assert result.policy == "direct", "reading past the cache must not fill it"
    path.read_bytes()
    mapped, result = load_timed(path)
    assert result.policy == "mmap"
    assert_same(mapped, list(tensors))


def test_auto_looks_only_at_what_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    Direct().write({f"t{i}": torch.full((1 << 20,), i) for i in range(4)}, path)
    evict_or_skip(path)
    with Direct().open(path) as reader:
        entry = reader.header.entries["t2"]
    descriptor = os.open(path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
    os.pread(descriptor, entry.end - entry.begin, entry.begin)
    os.close(descriptor)
    assert load_timed(path, ["t2"])[1].policy == "mmap"
    assert load_timed(path, ["t0"])[1].policy == "direct"
    assert load_timed(path)[1].policy == "direct"


def test_without_direct_io_auto_maps_and_direct_says_so(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evict_or_skip(path)
    monkeypatch.delattr(os, "O_DIRECT")
    tensors, result = load_timed(path)
    assert result.policy == "mmap"
    assert_same(tensors, list(tensors))
    with pytest.raises(UnsupportedError, match="no O_DIRECT"):
        load(path, policy="direct")


def test_the_result_says_what_was_done(path: Path) -> None:
    tensors, result = load_timed(path, ["embedding", "scalar"], policy="direct")
    assert (result.path, result.policy, result.n_tensors) == (path, "direct", 2)
    assert result.bytes_requested == sum(tensor.nbytes for tensor in tensors.values())
    assert result.open_ns > 0
    assert result.host_ns > 0
    assert result.device_ns >= 0


def test_mapped_tensors_hold_no_descriptor_and_are_unmapped(path: Path) -> None:
    def is_mapped() -> bool:
        return str(path) in Path("/proc/self/maps").read_text()

    before = open_files()
    mapped = load(path, ["embedding", "half"], policy="mmap")
    assert open_files() == before
    del mapped["embedding"]
    assert is_mapped()
    assert_same(mapped, ["half"])
    del mapped
    assert not is_mapped()


def test_mapped_tensors_outlive_a_replaced_file(path: Path) -> None:
    mapped = load(path, policy="mmap")
    Direct().write({"other": torch.zeros(3)}, path)
    assert_same(mapped, list(mapped))


def test_a_mapped_reader_reads_slices_and_nothing_after_close(path: Path) -> None:
    reader, policy = open_reader(path, None, "mmap", lazy=True, on_host=True)
    assert (policy, type(reader)) == ("mmap", MappedReader)
    rows = reader.read_slice("embedding", (slice(5, 9), slice(None, None, 2)))
    reader.close()
    assert torch.equal(rows, TENSORS["embedding"][5:9, ::2])
    with pytest.raises(ValueError, match="after close"):
        reader.read()
    with pytest.raises(ValueError, match="after close"):
        reader.read_into({"embedding": torch.zeros(3000, 200)})


def test_a_file_of_another_format_is_read_by_it(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    formats.get("torch").write(TENSORS, path)
    tensors, result = load_timed(path, ["half", "scalar"])
    assert_same(tensors, ["half", "scalar"])
    assert result.policy == "torch"
    with pytest.raises(UnsupportedError, match=r"'direct' is for safetensors.*\.pt.*'auto'"):
        load(path, policy="direct")


def test_an_unknown_suffix_is_taken_for_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "model.weights"
    Direct().write(TENSORS, path)
    assert load(path, ["scalar"])["scalar"] == 3
    path.write_bytes(b"something else entirely")
    with pytest.raises(CorruptFileError, match="no valid safetensors file"):
        load(path)


def test_several_threads_load_at_once(path: Path) -> None:
    failures: list[BaseException] = []

    def work(policy: str) -> None:
        try:
            for _ in range(3):
                assert_same(load(path, list(TENSORS), policy=policy), list(TENSORS))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(p,)) for p in (*POLICIES, *POLICIES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
