"""Imported models: the library's own bits, shared blocks, all layouts of folders and files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hub_models import (
    CLASSES,
    FIRST_RETRAINED,
    SMALL_RESNET,
    classifier,
    inputs_of,
    library_features,
    quiet,
    save,
    saved,
    stored_features,
    variant_of,
)
from safetensors.torch import load_file, save_file

from bench_core.errors import UnknownNameError
from bench_core.models.chains import chain, initialised
from bench_core.snapshots import ModelExistsError, Snapshot, SnapshotStore
from bench_core.snapshots.imported import import_folder, import_state_dict
from bench_core.snapshots.imported_sets import ImportFailure, import_set, import_state_dicts


@pytest.fixture
def store(tmp_path: Path) -> SnapshotStore:
    return SnapshotStore(tmp_path / "store")


@pytest.mark.parametrize("architecture", CLASSES)
def test_features_are_the_librarys_bit_for_bit(
    architecture: str, store: SnapshotStore, tmp_path: Path
) -> None:
    model = classifier(architecture)
    snapshot = import_folder(store, save(model, tmp_path / "model"))
    assert snapshot.architecture == architecture
    found = stored_features(store, snapshot, inputs_of(architecture))
    assert torch.equal(found, library_features(architecture, model))


@pytest.mark.parametrize("architecture", FIRST_RETRAINED)
def test_variants_share_exactly_their_frozen_blocks(
    architecture: str, store: SnapshotStore, tmp_path: Path
) -> None:
    start = FIRST_RETRAINED[architecture]
    folders = [saved(tmp_path / "base", architecture)]
    for seed in (1, 2):
        model = variant_of(classifier(architecture), start, seed)
        folders.append(save(model, tmp_path / f"variant-{seed}"))
    base, first, second = (import_folder(store, folder) for folder in folders)
    n_frozen = {"bert_tiny": 5, "resnet_tiny": 7}[architecture]
    for other in (first, second):
        same = [a.key == b.key for a, b in zip(base.blocks, other.blocks, strict=True)]
        assert same == [index < n_frozen for index in range(len(same))]
    assert first.blocks[n_frozen].key != second.blocks[n_frozen].key


def test_head_is_stored_and_gives_the_librarys_logits(store: SnapshotStore, tmp_path: Path) -> None:
    model = classifier("vit_tiny")
    snapshot = import_folder(store, save(model, tmp_path / "model"))
    assert snapshot.head is not None
    head = store.read_block(snapshot.head)
    features = stored_features(store, snapshot, inputs_of("vit_tiny"))
    with torch.inference_mode():
        expected = model(inputs_of("vit_tiny")).logits
    found = torch.nn.functional.linear(features, head["weight"], head["bias"])
    torch.testing.assert_close(found, expected)


def test_shards_pickles_and_half_files_are_the_same_model(
    store: SnapshotStore, tmp_path: Path
) -> None:
    model = classifier("bert_tiny")
    whole = import_folder(store, save(model, tmp_path / "whole"))
    shards = save(model, tmp_path / "shards", max_shard_size="100KB")
    assert len(list(shards.glob("*.safetensors"))) > 2
    pickled = tmp_path / "pickled"
    shutil.copytree(tmp_path / "whole", pickled)
    torch.save(load_file(pickled / "model.safetensors"), pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    for folder in (shards, pickled):
        assert import_folder(store, folder).blocks == whole.blocks


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_exactly(
    dtype: torch.dtype, store: SnapshotStore, tmp_path: Path
) -> None:
    half = classifier("vit_tiny").to(dtype)
    snapshot = import_folder(store, save(half, tmp_path / "half"))
    model = half.to(torch.float32)
    found = stored_features(store, snapshot, inputs_of("vit_tiny"))
    assert torch.equal(found, library_features("vit_tiny", model))


def test_a_trunk_without_a_head_is_the_same_trunk(store: SnapshotStore, tmp_path: Path) -> None:
    model = classifier("resnet_tiny")
    whole = import_folder(store, save(model, tmp_path / "whole"))
    trunk = import_folder(store, save(model.resnet, tmp_path / "trunk"))
    assert trunk.head is None
    assert trunk.blocks == whole.blocks


def test_old_names_and_missing_counters_are_understood(
    store: SnapshotStore, tmp_path: Path
) -> None:
    bert = import_folder(store, saved(tmp_path / "bert", "bert_tiny"))
    _rewrite(
        tmp_path / "bert",
        lambda state: {
            name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
                "LayerNorm.bias", "LayerNorm.beta"
            ): tensor
            for name, tensor in state.items()
        },
    )
    assert import_folder(store, tmp_path / "bert", "old").blocks == bert.blocks
    resnet = import_folder(store, saved(tmp_path / "resnet"))
    _rewrite(
        tmp_path / "resnet",
        lambda state: {
            name: tensor
            for name, tensor in state.items()
            if not name.endswith("num_batches_tracked")
        },
    )
    assert import_folder(store, tmp_path / "resnet", "uncounted").blocks == resnet.blocks


@pytest.mark.parametrize("kind", ["Detr", "ConditionalDetr", "DeformableDetr", "TableTransformer"])
def test_backbones_of_detectors(kind: str, store: SnapshotStore, tmp_path: Path) -> None:
    model = _detector(kind)
    snapshot = import_folder(store, save(model, tmp_path / kind))
    trunk = transformers.ResNetModel(transformers.ResNetConfig(**SMALL_RESNET))
    inner = next(
        module for module in model.modules() if isinstance(module, transformers.ResNetBackbone)
    )
    trunk.load_state_dict(inner.state_dict(), strict=False)
    images = inputs_of("resnet")
    with torch.inference_mode():
        expected = trunk.eval()(images).pooler_output.flatten(1)
    assert torch.equal(stored_features(store, snapshot, images), expected)


def test_timms_names_in_a_detector(store: SnapshotStore, tmp_path: Path) -> None:
    """Most published detectors have their backbone from timm, which is not needed to read them."""
    architecture = chain("resnet18")
    tensors = [initialised(spec, index) for index, spec in enumerate(architecture.blocks)]
    plain = store.add("plain", architecture, tensors)
    state = _timm_resnet18(tensors)
    prefix = "model.backbone.conv_encoder.model."
    folder = tmp_path / "detector"
    folder.mkdir()
    content = {"model_type": "detr", "use_timm_backbone": True, "backbone": "resnet18"}
    (folder / "config.json").write_text(json.dumps(content))
    counted = {n: t for n, t in state.items() if not n.endswith("num_batches_tracked")}
    save_file(
        {prefix + name: tensor for name, tensor in counted.items()}, folder / "model.safetensors"
    )
    assert import_folder(store, folder).blocks == plain.blocks
    save_file(state, tmp_path / "torchvision.safetensors")
    alone = import_state_dict(store, tmp_path / "torchvision.safetensors", "resnet18")
    assert alone.blocks == plain.blocks


def test_an_export_can_be_imported(store: SnapshotStore, tmp_path: Path) -> None:
    snapshot = import_folder(store, saved(tmp_path / "model", "bert_tiny"))
    for path, form in ((tmp_path / "a.pt", "torch"), (tmp_path / "b.safetensors", "safetensors")):
        store.export(snapshot.name, path, form)
        assert import_state_dict(store, path, "bert_tiny").blocks == snapshot.blocks
    assert store.names() == ["a", "b", "model"]


def test_state_dicts_under_a_key(store: SnapshotStore, tmp_path: Path) -> None:
    model = classifier("resnet_tiny")
    torch.save({"state_dict": model.state_dict()}, tmp_path / "wrapped.pt")
    torch.save(model.state_dict(), tmp_path / "plain.pt", _use_new_zipfile_serialization=False)
    wrapped = import_state_dict(store, tmp_path / "wrapped.pt", "resnet_tiny")
    plain = import_state_dict(store, tmp_path / "plain.pt", "resnet_tiny", "other")
    assert wrapped.blocks == plain.blocks
    assert wrapped.head == plain.head is not None


def test_a_folder_of_state_dicts(store: SnapshotStore, tmp_path: Path) -> None:
    folder = tmp_path / "states"
    (folder / "inner").mkdir(parents=True)
    state = classifier("resnet_tiny").state_dict()
    torch.save(state, folder / "b.pt")
    save_file(state, folder / "a.safetensors")
    for name in (".hidden.pt", "notes.txt", "c.pt"):
        (folder / name).write_bytes(b"no tensors")
    seen: list[tuple[int, int, str]] = []
    results = import_state_dicts(store, folder, "resnet_tiny", lambda *step: seen.append(step))
    assert [result.name for result in results] == ["a", "b", "c"]
    assert store.names() == ["a", "b"]
    assert store.snapshot("a").blocks == store.snapshot("b").blocks
    assert isinstance(results[2], ImportFailure)
    assert str(folder / "c.pt") in results[2].reason
    assert seen == [(0, 3, "a"), (1, 3, "b"), (2, 3, "c"), (3, 3, "")]
    with pytest.raises(UnknownNameError, match="resnet_tiny"):
        import_state_dicts(store, folder, "resnet_tinny")


@pytest.mark.parametrize("ending", [".pt", ".pth", ".bin"])
def test_files_of_torch_are_taken_by_all_their_endings(
    ending: str, store: SnapshotStore, tmp_path: Path
) -> None:
    folder = tmp_path / "states"
    folder.mkdir()
    state = classifier("resnet_tiny").state_dict()
    torch.save(state, folder / f"new{ending}")
    torch.save(state, folder / f"old{ending}", _use_new_zipfile_serialization=False)
    save_file(state, folder / "safe.safetensors")
    new, old, safe = import_state_dicts(store, folder, "resnet_tiny")
    assert isinstance(new, Snapshot) and isinstance(old, Snapshot) and isinstance(safe, Snapshot)
    assert [new.name, old.name, safe.name] == ["new", "old", "safe"]
    assert new.blocks == old.blocks == safe.blocks


def test_a_name_that_two_files_share_is_the_first_ones(
    store: SnapshotStore, tmp_path: Path
) -> None:
    folder = tmp_path / "states"
    folder.mkdir()
    for seed, name in enumerate(("a.bin", "a.pth", "b.pth")):
        torch.save(classifier("resnet_tiny", seed=seed).state_dict(), folder / name)
    for _ in range(2):
        first, second, other = import_state_dicts(store, folder, "resnet_tiny")
        assert isinstance(first, Snapshot) and isinstance(other, Snapshot)
        assert first == store.snapshot("a")
        assert isinstance(second, ImportFailure)
        assert second.reason.startswith(f"{folder / 'a.pth'}: ")
        assert "another model of this name" in second.reason


def test_a_changed_file_of_tensors_replaces_its_model_and_an_unchanged_one_is_not_read(
    store: SnapshotStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.pt"
    torch.save(classifier("resnet_tiny").state_dict(), path)
    first = import_state_dict(store, path, "resnet_tiny")

    def fail(*_: Any) -> None:
        raise AssertionError("the weights were read")

    with monkeypatch.context() as patch:
        patch.setattr("bench_core.snapshots.imported.read_state", fail)
        assert import_state_dict(store, path, "resnet_tiny") == first
    torch.save(classifier("resnet_tiny", seed=7).state_dict(), path)
    changed = import_state_dict(store, path, "resnet_tiny")
    assert changed.blocks != first.blocks
    assert store.snapshot("model") == changed
    other = tmp_path / "elsewhere" / "model.pt"
    other.parent.mkdir()
    torch.save(classifier("resnet_tiny", seed=8).state_dict(), other)
    with pytest.raises(ModelExistsError):
        import_state_dict(store, other, "resnet_tiny")


def test_a_set_in_all_layouts(store: SnapshotStore, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    saved(folder / "plain")
    saved(folder / "organisation" / "inner", seed=1)
    cached = folder / "models--someone--cached"
    saved(cached / "snapshots" / "aaa", seed=2)
    saved(cached / "snapshots" / "bbb", seed=3)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("bbb")
    several = folder / "models--someone--several"
    for seed, revision in enumerate(("c1", "c2")):
        saved(several / "snapshots" / revision, seed=seed)
    (folder / ".locks").mkdir()
    seen: list[tuple[int, int, str]] = []
    results = import_set(store, folder, lambda *step: seen.append(step))
    expected = [
        "organisation--inner",
        "plain",
        "someone--cached",
        "someone--several@c1",
        "someone--several@c2",
    ]
    assert [result.name for result in results] == store.names() == expected
    assert all(isinstance(result, Snapshot) for result in results)
    assert seen == [*((i, 5, name) for i, name in enumerate(expected)), (5, 5, "")]
    assert store.snapshot("someone--cached").origin["folder"].endswith("bbb")
    assert import_folder(store, cached).name == "someone--cached"


def test_an_unchanged_folder_is_not_read_again(
    store: SnapshotStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(tmp_path / "model")
    first = import_folder(store, folder)

    def fail(*_: Any) -> None:
        raise AssertionError("the weights were read")

    with monkeypatch.context() as patch:
        patch.setattr("bench_core.snapshots.imported.read_folder", fail)
        assert import_folder(store, folder) == first
    saved(folder, seed=7)
    changed = import_folder(store, folder)
    assert changed.blocks != first.blocks
    assert store.snapshot("model") == changed


def test_a_lost_block_is_imported_anew(store: SnapshotStore, tmp_path: Path) -> None:
    folder = saved(tmp_path / "model")
    snapshot = import_folder(store, folder)
    store.block_path(snapshot.blocks[2]).unlink()
    assert import_folder(store, folder) == snapshot
    store.read_block(snapshot.blocks[2], verify=True)


def _rewrite(folder: Path, change: Any) -> None:
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path)


def _detector(kind: str) -> Any:
    quiet()
    sizes = {
        f"{side}_{what}": count
        for side in ("encoder", "decoder")
        for what, count in (("layers", 2), ("attention_heads", 2), ("ffn_dim", 8))
    }
    backbone = transformers.ResNetConfig(
        **SMALL_RESNET, out_features=["stage2", "stage3", "stage4"]
    )
    configuration = getattr(transformers, f"{kind}Config")(
        use_timm_backbone=False, backbone=None, backbone_config=backbone, d_model=32, **sizes
    )
    torch.manual_seed(0)
    return getattr(transformers, f"{kind}ForObjectDetection")(configuration).eval()


def _timm_resnet18(blocks: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Return the blocks' tensors by the names that torchvision and timm give them."""
    state = {}
    for index, block in enumerate(blocks):
        for key, tensor in block.items():
            if index == 0:
                kind, last = key.split(".")[-2:]
                state[f"{'conv1' if kind == 'convolution' else 'bn1'}.{last}"] = tensor
                continue
            stage, layer = divmod(index - 1, 2)
            parts = key.split(".")[1:]  # layer.0.convolution.weight, shortcut.convolution.weight
            is_convolution = parts[-2] == "convolution"
            if parts[0] == "shortcut":
                inner = f"downsample.{0 if is_convolution else 1}"
            else:
                inner = f"{'conv' if is_convolution else 'bn'}{int(parts[1]) + 1}"
            state[f"layer{stage + 1}.{layer}.{inner}.{parts[-1]}"] = tensor
    return state
