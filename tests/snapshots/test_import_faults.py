"""What cannot be imported: one line that names the folder, nothing executed, the rest goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_models import SMALL_RESNET, classifier, save, saved
from safetensors.torch import load_file, save_file

from bench_core.errors import (
    BenchCoreError,
    CorruptFileError,
    SaveError,
    TensorMismatchError,
    TensorNotFoundError,
    UnknownNameError,
    UnsupportedError,
)
from bench_core.snapshots import ModelExistsError, Snapshot, SnapshotStore
from bench_core.snapshots.errors import UnsafeFileError
from bench_core.snapshots.imported import import_folder, import_state_dict
from bench_core.snapshots.imported_sets import ImportFailure, import_set, import_state_dicts


class Code:
    """What a pickle of this does when it is read is to make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (str(self.path), "w"))


@pytest.fixture
def store(tmp_path: Path) -> SnapshotStore:
    return SnapshotStore(tmp_path / "store")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return saved(tmp_path / "model")


@pytest.mark.parametrize("is_legacy", [False, True])
def test_a_pickle_with_code_is_refused_and_not_executed(
    is_legacy: bool, store: SnapshotStore, folder: Path, tmp_path: Path
) -> None:
    proof = tmp_path / "executed"
    (folder / "model.safetensors").unlink()
    torch.save(
        {"weight": torch.ones(3), "bad": Code(proof)},
        folder / "pytorch_model.bin",
        _use_new_zipfile_serialization=not is_legacy,
    )
    error = _refused(UnsafeFileError, store, folder)
    assert "open" in error
    assert not proof.exists()
    assert store.names() == []


@pytest.mark.parametrize("ending", [".pt", ".pth", ".bin"])
def test_a_pickle_with_code_among_files_of_tensors_is_named_and_not_executed(
    ending: str, store: SnapshotStore, tmp_path: Path
) -> None:
    folder, proof = tmp_path / "states", tmp_path / "executed"
    folder.mkdir()
    torch.save(classifier("resnet_tiny").state_dict(), folder / f"good{ending}")
    torch.save({"weight": torch.ones(3), "bad": Code(proof)}, folder / f"training{ending}")
    good, bad = import_state_dicts(store, folder, "resnet_tiny")
    assert isinstance(good, Snapshot)
    assert isinstance(bad, ImportFailure)
    assert bad.reason.startswith(f"{folder / f'training{ending}'}: the pickle asks for")
    assert not proof.exists()


def test_truncated_safetensors(store: SnapshotStore, folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert "damaged" in _refused(CorruptFileError, store, folder)


@pytest.mark.parametrize("content", [b"", b"no pickle at all", b"PK\x03\x04 and no zip"])
def test_damaged_pickles(content: bytes, store: SnapshotStore, folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(content)
    _refused(CorruptFileError, store, folder)


def test_truncated_pickle(store: SnapshotStore, folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    content = (folder / "pytorch_model.bin").read_bytes()
    (folder / "pytorch_model.bin").write_bytes(content[: len(content) // 2])
    _refused(CorruptFileError, store, folder)


def test_a_missing_shard(store: SnapshotStore, tmp_path: Path) -> None:
    folder = save(classifier("bert_tiny"), tmp_path / "shards", max_shard_size="100KB")
    lost = min(folder.glob("*.safetensors"))
    lost.unlink()
    assert lost.name in _refused(CorruptFileError, store, folder)


@pytest.mark.parametrize(
    "index", ["{}", "[]", "no json", '{"weight_map": {"a": "../../elsewhere.safetensors"}}']
)
def test_damaged_indices(index: str, store: SnapshotStore, folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(index)
    _refused(CorruptFileError, store, folder)


def test_a_tensor_in_two_shards(store: SnapshotStore, folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    for shard in ("one", "two"):
        save_file(state, folder / f"{shard}.safetensors")
    places = {"a": "one.safetensors", "b": "two.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    _refused(CorruptFileError, store, folder)


@pytest.mark.parametrize(
    ("changes", "expected", "words"),
    [
        ({"model_type": "llama"}, UnsupportedError, "llama"),
        ({"quantization_config": {"bits": 4}}, UnsupportedError, "quantised"),
        ({"hidden_act": "gelu"}, UnsupportedError, "gelu"),
        ({"model_type": 3}, CorruptFileError, "model_type"),
        ({"depths": "many"}, CorruptFileError, "configuration"),
        ({"hidden_sizes": [16, 32, 48, 80]}, TensorMismatchError, "[80"),
        ({"depths": [2, 2, 2, 3]}, TensorNotFoundError, "encoder.stages.3"),
        (
            {"model_type": "detr", "dilation": True, "backbone": "resnet18"},
            UnsupportedError,
            "dilated",
        ),
        ({"model_type": "detr", "backbone": "swin"}, UnsupportedError, "swin"),
        (
            {"model_type": "detr", "backbone_config": {"model_type": "resnet", **SMALL_RESNET}},
            TensorNotFoundError,
            "backbone",
        ),
    ],
)
def test_configurations(
    changes: dict[str, Any],
    expected: type[BenchCoreError],
    words: str,
    store: SnapshotStore,
    folder: Path,
) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    assert words in _refused(expected, store, folder)


def test_a_missing_tensor(store: SnapshotStore, folder: Path) -> None:
    _rewrite(folder, lambda name, tensor: None if "stages.1.layers.0" in name else tensor)
    assert "stages.1.layers.0" in _refused(TensorNotFoundError, store, folder)


@pytest.mark.parametrize("dtype", [torch.int8, torch.float64, torch.float8_e4m3fn])
def test_types_that_float32_cannot_hold(
    dtype: torch.dtype, store: SnapshotStore, folder: Path
) -> None:
    _rewrite(folder, lambda name, tensor: tensor.to(dtype) if "convolution" in name else tensor)
    assert str(dtype).removeprefix("torch.") in _refused(UnsupportedError, store, folder)


def test_folders_without_weights(store: SnapshotStore, folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert "pytorch_model.bin" in _refused(UnsupportedError, store, folder)
    (folder / "adapter_config.json").touch()
    assert "adapter" in _refused(UnsupportedError, store, folder)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "config.json" in _refused(UnsupportedError, store, empty)


def test_cached_revisions_without_a_main_one(store: SnapshotStore, tmp_path: Path) -> None:
    repository = tmp_path / "models--someone--several"
    for revision in ("one", "two"):
        (repository / "snapshots" / revision).mkdir(parents=True)
    assert "2 revisions" in _refused(UnsupportedError, store, repository)


def test_another_model_of_this_name(store: SnapshotStore, folder: Path, tmp_path: Path) -> None:
    first = import_folder(store, folder)
    _refused(ModelExistsError, store, saved(tmp_path / "elsewhere" / "model", seed=1))
    assert store.snapshot("model") == first


def test_a_set_goes_on_after_failures(store: SnapshotStore, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for index, name in enumerate(("a", "b", "c", "d")):
        saved(folder / name, seed=index)
    (folder / "b" / "model.safetensors").write_bytes(b"gone")
    (folder / "c" / "config.json").write_text('{"model_type": "gpt2"}')
    (folder / "c" / "model.safetensors").unlink()
    (folder / "nothing").mkdir()
    (folder / "unreadable" / "config.json").mkdir(parents=True)
    results = {result.name: result for result in import_set(store, folder)}
    assert store.names() == ["a", "d"]
    for name in ("b", "c", "nothing", "unreadable"):
        failure = results[name]
        assert isinstance(failure, ImportFailure)
        assert str(folder / name) in failure.reason
        assert "\n" not in failure.reason
    assert "gpt2" in results["c"].reason  # what it is says more than that it has no weights
    assert isinstance(results["d"], Snapshot)


def test_a_full_disk_stops_a_set(
    store: SnapshotStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path / "set" / "a")

    def full(*_: Any, **__: Any) -> None:
        raise SaveError("no space left")

    monkeypatch.setattr(store, "add", full)
    with pytest.raises(SaveError, match="no space"):
        import_set(store, tmp_path / "set")


def test_state_dicts(store: SnapshotStore, tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    with pytest.raises(FileNotFoundError):
        import_state_dict(store, path, "resnet_tiny")
    torch.save([torch.ones(2)], path)
    with pytest.raises(CorruptFileError, match="list"):
        import_state_dict(store, path, "resnet_tiny")
    torch.save({"weight": torch.ones(2), "epoch": 3}, path)
    with pytest.raises(CorruptFileError, match="epoch"):
        import_state_dict(store, path, "resnet_tiny")
    torch.save({"weight": torch.ones(2)}, path)
    with pytest.raises(TensorNotFoundError, match=r"state\.pt"):
        import_state_dict(store, path, "resnet_tiny")
    with pytest.raises(UnknownNameError, match="resnet_tiny"):
        import_state_dict(store, path, "resnet_tinny")


def _refused(expected: type[BenchCoreError], store: SnapshotStore, folder: Path) -> str:
    """See that a folder is refused in one line that names it, and return the line."""
    with pytest.raises(expected) as caught:
        import_folder(store, folder)
    line = str(caught.value)
    assert str(folder) in line
    assert "\n" not in line
    return line


def _rewrite(folder: Path, change: Any) -> None:
    path = folder / "model.safetensors"
    state = {name: change(name, tensor) for name, tensor in load_file(path).items()}
    save_file({name: tensor for name, tensor in state.items() if tensor is not None}, path)
