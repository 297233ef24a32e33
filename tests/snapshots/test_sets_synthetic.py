"""Synthetic sets: what their models share, that they can be repeated, and that they go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sets_family import toy_chain

from bench_core.errors import TensorMismatchError, UnknownNameError
from bench_core.models.chains import chain
from bench_core.snapshots.draws import DISTRIBUTIONS, first_own_block, retrained_blocks
from bench_core.snapshots.manifest import Snapshot
from bench_core.snapshots.reuse import OtherSetError
from bench_core.snapshots.store import SnapshotStore
from bench_core.snapshots.synthetic import synthetic_set


def keys(models: list[Snapshot]) -> list[list[str]]:
    return [[block.key for block in model.blocks] for model in models]


def distinct(models: list[Snapshot]) -> int:
    return len({key for model in keys(models) for key in model})


@pytest.mark.parametrize("architecture", ["mlp_tiny", "mlp_deep"])
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("chained", [True, False])
def test_distinct_blocks_are_those_of_one_model_and_the_drawn_ones(
    tmp_path: Path, architecture: str, distribution: str, chained: bool
) -> None:
    store, spec = SnapshotStore(tmp_path), chain(architecture)
    models = synthetic_set(store, architecture, distribution, 35, chained=chained)
    drawn = retrained_blocks(distribution, len(spec.cuts), 34)
    own = [len(spec.blocks) - first_own_block(spec.cuts, number) for number in drawn]
    assert distinct(models) == len(spec.blocks) + sum(own)
    assert len(list((tmp_path / "blocks").rglob("*.safetensors"))) == distinct(models)
    assert [model.origin["retrained"] for model in models] == [0, *drawn]


@pytest.mark.parametrize("chained", [True, False])
def test_a_model_is_its_base_up_to_the_cut_and_not_after(tmp_path: Path, chained: bool) -> None:
    spec = chain("mlp_deep")
    models = synthetic_set(
        SnapshotStore(tmp_path), "mlp_deep", "FIFTY_PERCENT", 12, chained=chained
    )
    by_name = {model.name: model for model in models}
    for model in models[1:]:
        base = by_name[model.origin["base"]]
        first = first_own_block(spec.cuts, model.origin["retrained"])
        same = [a == b for a, b in zip(model.blocks, base.blocks, strict=True)]
        assert same == [index < first for index in range(len(spec.blocks))]
    bases = {model.origin["base"] for model in models[1:]}
    assert (len(bases) > 1) == chained


def test_a_draw_of_none_is_an_identical_copy(tmp_path: Path) -> None:
    first, copy = synthetic_set(SnapshotStore(tmp_path), "mlp_tiny", [0], 2)
    assert copy.blocks == first.blocks
    assert copy.name != first.name


def test_a_draw_of_all_cuts_shares_nothing(tmp_path: Path) -> None:
    first, other = synthetic_set(SnapshotStore(tmp_path), "mlp_tiny", [5], 2)
    assert not {b.key for b in first.blocks} & {b.key for b in other.blocks}


def test_two_stores_hold_the_same_and_another_seed_gives_others(tmp_path: Path) -> None:
    a, b, c = (SnapshotStore(tmp_path / name) for name in "abc")
    first = keys(synthetic_set(a, "mlp_tiny", "FIFTY_PERCENT", 8, seed=1))
    assert keys(synthetic_set(b, "mlp_tiny", "FIFTY_PERCENT", 8, seed=1)) == first
    other = keys(synthetic_set(c, "mlp_tiny", "FIFTY_PERCENT", 8, seed=2))
    assert not {key for model in first for key in model} & {key for m in other for key in m}


@settings(max_examples=20, deadline=None)
@given(few=st.integers(0, 6), more=st.integers(0, 6))
def test_a_smaller_set_is_the_beginning_of_a_larger_one(
    tmp_path_factory: pytest.TempPathFactory, few: int, more: int
) -> None:
    folder = tmp_path_factory.mktemp("prefix")
    large = synthetic_set(SnapshotStore(folder / "a"), "mlp_tiny", "FIFTY_PERCENT", few + more)
    small = synthetic_set(SnapshotStore(folder / "b"), "mlp_tiny", "FIFTY_PERCENT", few)
    assert large[:few] == small


def test_names_and_origins_say_how_a_model_was_made(tmp_path: Path) -> None:
    models = synthetic_set(SnapshotStore(tmp_path), "mlp_tiny", "top_layers", 3, seed=5)
    assert [m.name for m in models] == [f"mlp_tiny-top_layers-{i:03d}" for i in range(3)]
    assert models[0].origin["base"] is None
    assert models[1].origin["base"] == models[0].name
    assert {model.origin["seed"] for model in models} == {5}


def test_what_is_there_is_not_made_again(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    first = synthetic_set(store, "mlp_tiny", "FIFTY_PERCENT", 6)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    seen: list[tuple[int, int]] = []
    again = synthetic_set(
        store, "mlp_tiny", "FIFTY_PERCENT", 6, progress=lambda *step: seen.append(step)
    )
    assert again == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")} == before
    assert seen == [(done, 6) for done in range(1, 7)]


@pytest.mark.parametrize("damage", ["lost", "cut"])
def test_a_lost_block_is_made_again(tmp_path: Path, damage: str) -> None:
    store = SnapshotStore(tmp_path)
    models = synthetic_set(store, "mlp_tiny", "FIFTY_PERCENT", 6)
    lost = store.block_path(models[3].blocks[-1])
    content = lost.read_bytes()
    lost.unlink()
    if damage == "cut":
        lost.write_bytes(content[:-1])
    assert synthetic_set(store, "mlp_tiny", "FIFTY_PERCENT", 6) == models
    assert lost.read_bytes() == content


def test_a_set_made_otherwise_is_not_taken_for_this_one(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    synthetic_set(store, "mlp_tiny", "FIFTY_PERCENT", 3, seed=1)
    with pytest.raises(OtherSetError, match="has seed 1, asked for was 2"):
        synthetic_set(store, "mlp_tiny", "FIFTY_PERCENT", 3, seed=2)


def test_a_set_can_begin_with_any_stored_model_of_the_architecture(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    base = synthetic_set(store, "mlp_tiny", "FIFTY_PERCENT", 1, seed=9)[0]
    models = synthetic_set(store, "mlp_tiny", "LAST_ONE_LAYER", 4, base=base)
    assert models[0].blocks == base.blocks
    assert models[0].origin["base"] == base.name
    assert distinct(models) == len(base.blocks) + 3
    with pytest.raises(TensorMismatchError, match="is a mlp_tiny of 4 blocks"):
        synthetic_set(store, "mlp_deep", "LAST_ONE_LAYER", 4, base=base)


def test_blocks_that_start_equal_are_one_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy_chain(monkeypatch)
    models = synthetic_set(SnapshotStore(tmp_path), "toy", [1, 2, 4], 4)
    dense = [block.key for model in models for block in model.blocks[0::2]]
    norms = {block.key for model in models for block in model.blocks[1::2]}
    assert len(norms) == 1  # all ones and zeros, wherever they stand
    assert len(set(dense)) == 4 + 1 + 2 + 4


def test_a_trained_base_is_trained_once_and_shared(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    store = SnapshotStore(tmp_path)
    models = synthetic_set(store, "mlp_tiny", "FIFTY_PERCENT", 5, base="trained")
    base = store.snapshot("mlp_tiny-base-digits-low")
    assert models[0].blocks == base.blocks
    assert base.origin["record"]["accuracy"] > 0.8  # one in five by chance
    assert models == synthetic_set(store, "mlp_tiny", "FIFTY_PERCENT", 5, base="trained")
    other = synthetic_set(store, "mlp_tiny", "TOP_LAYERS", 3, base="trained")
    assert other[0].blocks == base.blocks


def test_unknown_names_make_nothing(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path / "store")
    with pytest.raises(UnknownNameError):
        synthetic_set(store, "mlp_tiniest", "TOP_LAYERS", 3)
    with pytest.raises(UnknownNameError):
        synthetic_set(store, "mlp_tiny", "TOP", 3)
    assert store.names() == []


_MAKE = """
import sys
from pathlib import Path
from bench_core.snapshots.store import SnapshotStore
from bench_core.snapshots.synthetic import synthetic_set
synthetic_set(SnapshotStore(Path(sys.argv[1])), "mlp_deep", "FIFTY_PERCENT", 400)
"""


def test_a_set_that_was_killed_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    process = subprocess.Popen([sys.executable, "-c", _MAKE, str(folder)])
    deadline = time.monotonic() + 60
    while len(list(folder.glob("models/*.json"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    made = {path: path.stat().st_mtime_ns for path in folder.glob("models/*.json")}
    assert 5 <= len(made) < 400
    count = len(made) + 5
    models = synthetic_set(SnapshotStore(folder), "mlp_deep", "FIFTY_PERCENT", count)
    whole = synthetic_set(SnapshotStore(tmp_path / "whole"), "mlp_deep", "FIFTY_PERCENT", count)
    assert models == whole
    assert {path: path.stat().st_mtime_ns for path in made} == made
