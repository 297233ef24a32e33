"""Tensors scattered over many files: each file is opened once, and all are read together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from bench_core.errors import CorruptFileError, TensorNotFoundError
from bench_core.formats.direct import Direct
from bench_core.layer_loading import load_scattered, owner_map, policies, read_index


@pytest.fixture
def owners(tmp_path: Path) -> dict[str, Path]:
    """Forty tensors, interleaved over four files that also hold what nobody asks for."""
    files = [tmp_path / f"{i}.safetensors" for i in range(4)]
    for i, file in enumerate(files):
        own = {f"t{j}": torch.full((1000 + 5000 * j,), float(j)) for j in range(i, 40, 4)}
        Direct().write({**own, "unwanted": torch.zeros(9)}, file)
    return {f"t{j}": files[j % 4] for j in range(40)}


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("policy", ["auto", "direct", "mmap", "populate", "pread"])
def test_all_come_from_their_owners(owners: dict[str, Path], policy: str) -> None:
    tensors = load_scattered(owners, policy=policy)
    assert list(tensors) == list(owners)
    for j in range(40):
        assert torch.equal(tensors[f"t{j}"], torch.full((1000 + 5000 * j,), float(j)))


def test_each_file_is_opened_once_and_closed(
    owners: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []

    def counting(path: Path, *args: object, **kwargs: object) -> object:
        opened.append(path)
        return policies.open_reader(path, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(owner_map, "open_reader", counting)
    monkeypatch.setattr(owner_map, "FILES_AT_ONCE", 3)
    before = open_files()
    load_scattered({name: str(path) for name, path in owners.items()}, policy="direct")
    assert sorted(opened) == sorted(set(owners.values()))
    assert open_files() == before


def test_a_missing_file_and_a_missing_name_leave_nothing_open(owners: dict[str, Path]) -> None:
    before = open_files()
    with pytest.raises(FileNotFoundError, match="gone"):
        load_scattered({**owners, "t99": owners["t0"].with_name("gone.safetensors")})
    with pytest.raises(TensorNotFoundError, match=r"1\.safetensors.*'t0'"):
        load_scattered({"t0": owners["t1"]})
    assert open_files() == before


def test_no_owner_is_no_tensor() -> None:
    assert load_scattered({}) == {}


def test_the_index_of_a_sharded_checkpoint(owners: dict[str, Path], tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    weight_map = {name: path.name for name, path in owners.items()}
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    assert read_index(index) == owners
    assert torch.equal(load_scattered(read_index(index))["t3"], torch.full((16000,), 3.0))


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"t": 3}}',
     '{"weight_map": {"t": "../other.safetensors"}}', '{"weight_map": {"t": "/etc/passwd"}}'],
)  # fmt: skip
def test_a_wrong_index_is_refused(tmp_path: Path, content: str) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(content)
    with pytest.raises(CorruptFileError, match=r"model\.safetensors\.index\.json"):
        read_index(index)
