"""Models compared by their tensors' names: levels, runs, order, beginnings of names, stores."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import torch
from hub_models import FIRST_RETRAINED, classifier, save, variant_of
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from store_cases import spec_of, tensors_of

from bench_core.errors import CorruptFileError, UnknownNameError, UnsupportedError
from bench_core.snapshots import SnapshotStore
from bench_core.snapshots.compare import (
    Group,
    Level,
    Model,
    compare_models,
    groups,
    model_at,
    model_in,
    models_under,
)


def test_levels_of_two_models() -> None:
    base = Model("base", {"a": torch.ones(2), "b": torch.ones(3), "c": torch.ones(2)})
    other = Model("other", {"c": torch.zeros(2), "a": torch.ones(2), "b": torch.ones(4)})
    other = Model("other", {**other.tensors, "d": torch.ones(5)})
    found = compare_models(base, other)
    assert [(tensor.name, tensor.level) for tensor in found.tensors] == [
        ("a", Level.IDENTICAL),
        ("b", Level.SAME_NAME),
        ("c", Level.SAME_SHAPE),
        ("d", Level.DIFFERENT_NAME),
    ]
    assert found.identical == 1
    assert found.histogram == dict.fromkeys(Level, 1)
    assert [tensor.nbytes for tensor in found.tensors] == [8, 12, 8, 20]


def test_deep_figures_of_what_differs_alone() -> None:
    base = Model("base", {"a": torch.ones(2), "b": torch.ones(3), "c": torch.ones(2)})
    other = Model("other", {"a": torch.ones(2), "b": torch.ones(3) + 2, "c": torch.ones(3)})
    first, second, third = compare_models(base, other, deep=True).tensors
    assert first.difference is None
    assert second.difference is not None
    assert second.difference.mse == 4
    assert third.difference is None


@given(st.lists(st.sampled_from(Level)))
def test_runs_are_the_levels_again(levels: list[Level]) -> None:
    found = groups(levels)
    assert [group.level for group in found for _ in range(group.count)] == levels
    assert all(a.level is not b.level for a, b in itertools.pairwise(found))


@pytest.mark.parametrize("architecture", FIRST_RETRAINED)
def test_a_fine_tuned_model_begins_with_what_was_frozen(architecture: str, tmp_path: Path) -> None:
    base = save(classifier(architecture), tmp_path / "base")
    model = variant_of(classifier(architecture), FIRST_RETRAINED[architecture], 1)
    found = compare_models(model_at(base), model_at(save(model, tmp_path / "variant")))
    assert found.groups[0].level is Level.IDENTICAL
    trained = (FIRST_RETRAINED[architecture], "encoder.layer.5.", "pooler", "classifier")
    for tensor in found.tensors:
        is_trained = any(part in tensor.name for part in trained)
        is_counted = "running" in tensor.name or "tracked" in tensor.name
        assert (tensor.level is Level.IDENTICAL) == (is_counted or not is_trained), tensor.name
    assert "classifier" in found.tensors[-1].name


def test_order_goes_by_layers_and_heads_come_last(tmp_path: Path) -> None:
    names = ["vit.layers.10.a", "vit.layers.2.a", "classifier.bias", "vit.embeddings.a"]
    save_file({name: torch.ones(1) for name in names}, tmp_path / "model.safetensors")
    assert list(model_at(tmp_path).tensors) == [
        "vit.embeddings.a",
        "vit.layers.2.a",
        "vit.layers.10.a",
        "classifier.bias",
    ]


def test_a_trunk_is_compared_with_a_model_that_has_a_head(tmp_path: Path) -> None:
    model = classifier("resnet_tiny")
    trunk = model_at(save(model.resnet, tmp_path / "trunk"))
    whole = model_at(save(model, tmp_path / "whole"))
    for base, other in ((trunk, whole), (whole, trunk)):
        found = compare_models(base, other)
        assert found.groups == [
            Group(Level.IDENTICAL, len(trunk.tensors)),
            Group(Level.DIFFERENT_NAME, 2),
        ]


def test_models_of_a_store(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path / "store")
    head = torch.ones(2, 3), torch.ones(2)
    base = tensors_of(0)
    store.add("base", spec_of(), base, head=head)
    store.add("tuned", spec_of(), [*base[:2], *tensors_of(1)[2:]], head=head)
    found = compare_models(model_in(store, "base"), model_in(store, "tuned"), deep=True)
    assert found.groups == [
        Group(Level.IDENTICAL, 4),
        Group(Level.SAME_SHAPE, 4),
        Group(Level.IDENTICAL, 2),
    ]
    by_name = {tensor.name: tensor for tensor in found.tensors}
    expected = (base[3]["0.bias"].double() - tensors_of(1)[3]["0.bias"].double()).square().mean()
    deep = by_name["3.0.bias"].difference
    assert deep is not None
    assert deep.mse == pytest.approx(expected.item())


def test_equal_blocks_of_a_store_are_not_read(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path / "store")
    for name in ("a", "b"):
        store.add(name, spec_of(), tensors_of(0))
    a, b = model_in(store, "a"), model_in(store, "b")
    # Other tensors under the same identities would be noticed if they were looked at.
    b = Model("b", {name: tensor + 1 for name, tensor in b.tensors.items()}, b.identities)
    assert compare_models(a, b).identical == len(a.tensors)


def test_faults_of_a_store(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path / "store")
    snapshot = store.add("base", spec_of(), tensors_of(0))
    with pytest.raises(UnknownNameError, match="base"):
        model_in(store, "bass")
    path = store.block_path(snapshot.blocks[1])
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptFileError, match=path.name):
        model_in(store, "base")


def test_folders_that_are_models_and_folders_of_models(tmp_path: Path) -> None:
    model = save(classifier("resnet_tiny"), tmp_path / "set" / "one")
    assert models_under(model) == []
    assert [found.name for found in models_under(tmp_path / "set")] == ["one"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnsupportedError, match="neither"):
        models_under(tmp_path / "empty")


def test_lines_are_json(tmp_path: Path) -> None:
    base = Model("base", {"a": torch.tensor([float("nan")]), "b": torch.ones(2)})
    other = Model("other", {"a": torch.tensor([1.0]), "b": torch.ones(2)})
    content = compare_models(base, other, deep=True).as_json()
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert (content["identical"], content["total"]) == (1, 2)
    assert (content["identical_bytes"], content["bytes"]) == (8, 12)
    assert content["groups"] == [["same_shape", 1], ["identical", 1]]
