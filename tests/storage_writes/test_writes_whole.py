"""`save` and `save_each_tensor`: what is stored, the two times, and the errors."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest
import torch

from bench_core import formats, storage_writes
from bench_core.errors import SaveError, UnknownNameError, UnsupportedError
from bench_core.formats import Durability
from bench_core.models import equal_bytes, tensors
from bench_core.storage_writes import save, save_each_tensor

FORMAT = "direct"
STATE = tensors("tiny_5x4KiB")


def load(path: Path, format: str = FORMAT) -> dict[str, torch.Tensor]:
    with formats.get(format).open(path) as reader:
        return {name: tensor.clone() for name, tensor in reader.read().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(equal_bytes(a[name], b[name]) for name in a)


def test_a_module_is_stored_as_its_state_dict(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    save(module, tmp_path / "m.safetensors", format=FORMAT)
    assert same(load(tmp_path / "m.safetensors"), module.state_dict())


def test_the_default_format_is_a_safetensors_file(tmp_path: Path) -> None:
    save(STATE, tmp_path / "m.safetensors")
    assert same(load(tmp_path / "m.safetensors", "safetensors"), STATE)


@pytest.mark.parametrize("durability", [*Durability, "fsync"])
def test_every_durability_stores_the_same_and_returns_before_it_is_durable(
    tmp_path: Path, durability: Durability | str
) -> None:
    path = tmp_path / "m.safetensors"
    result = save(STATE, str(path), durability=durability, format=FORMAT)
    assert same(load(path), STATE)
    assert result.path == path
    assert result.bytes_logical == 5 * 4096
    assert result.bytes_physical == path.stat().st_size
    assert 0 < result.return_ns <= result.durable_ns


@pytest.mark.parametrize("format", ["torch", FORMAT])
def test_tied_weights_are_stored_under_each_name(tmp_path: Path, format: str) -> None:
    module = torch.nn.ModuleDict({"a": torch.nn.Linear(4, 4), "b": torch.nn.Linear(4, 4)})
    module["a"].weight = module["b"].weight
    save(module, tmp_path / "m", format=format)
    assert same(load(tmp_path / "m", format), module.state_dict())


def test_a_name_that_does_not_exist_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"durability 'fsync_dirs'.*mean 'fsync_dir'"):
        save(STATE, tmp_path / "m", durability="fsync_dirs")
    with pytest.raises(UnknownNameError, match=r"format 'safetensor'.*mean 'safetensors'"):
        save(STATE, tmp_path / "m", format="safetensor")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_tensor_is_refused_by_name(tmp_path: Path) -> None:
    nested: dict[str, object] = {"w": torch.ones(1), "optimizer": {"step": 3}}
    with pytest.raises(UnsupportedError, match="'optimizer' is a dict, not a tensor"):
        save(nested, tmp_path / "m", format=FORMAT)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_failing_save_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save(STATE, path, format=FORMAT)
    meta = {"w": torch.empty(2, device="meta")}
    with pytest.raises(UnsupportedError):
        save(meta, path, format=FORMAT)
    assert same(load(path), STATE)
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_a_save_error(tmp_path: Path) -> None:
    with pytest.raises(SaveError, match="nowhere"):
        save(STATE, tmp_path / "nowhere" / "m", format=FORMAT)


def test_each_tensor_gets_a_file(tmp_path: Path) -> None:
    result = save_each_tensor(STATE, tmp_path, format=FORMAT)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == [f"00000{i}.safetensors" for i in range(5)]
    assert same({k: v for file in files for k, v in load(file).items()}, STATE)
    assert result.bytes_logical == 5 * 4096
    assert result.bytes_physical == sum(file.stat().st_size for file in files)
    assert result.return_ns <= result.durable_ns


@pytest.mark.parametrize("example", ["save", "AsyncSaver", "memory_target"])
def test_the_examples_in_the_documentation_are_true(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, example: str
) -> None:
    monkeypatch.chdir(tmp_path)
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner()
    for test in finder.find(getattr(storage_writes, example), globs={}):
        assert test.examples
        assert runner.run(test).failed == 0
