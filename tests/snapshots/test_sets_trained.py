"""Trained sets: frozen blocks are the base's, trained ones are not, and they have learnt."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from sets_data import clusters
from sets_family import WIDTH, toy_chain

from bench_core.data import load
from bench_core.models import equal_bytes
from bench_core.models.chains import block_module, chain, run_chain
from bench_core.snapshots.fine_tuning import ScoresError, fine_tune, rank_correlation
from bench_core.snapshots.manifest import Snapshot
from bench_core.snapshots.reuse import OtherSetError
from bench_core.snapshots.sources import Source, sources_of
from bench_core.snapshots.store import SnapshotStore
from bench_core.snapshots.trained import trained_base, trained_set
from bench_core.snapshots.training import Training, TrainingError

QUICK = Training(epochs=4, learning_rate=1e-2, batch_size=32, checkpoint_every=1)
SOURCES = sources_of(clusters(), "clusters")


def small_set(store: SnapshotStore, retrained: list[int]) -> list[Snapshot]:
    return trained_set(
        store, "mlp_tiny", len(retrained) + 1, SOURCES[:3], QUICK, distribution=retrained
    )


def test_frozen_blocks_are_those_of_the_base_and_trained_ones_are_not(tmp_path: Path) -> None:
    retrained = [1, 0, 2, 4, 3]
    base, *models = small_set(SnapshotStore(tmp_path), retrained)
    for model, count in zip(models, retrained, strict=True):
        same = [a == b for a, b in zip(model.blocks, base.blocks, strict=True)]
        assert same == [index < 4 - count for index in range(4)]
        assert model.origin["base"] == base.name


def test_models_have_learnt_and_say_on_what(tmp_path: Path) -> None:
    base, *models = small_set(SnapshotStore(tmp_path), [2, 3, 4, 2])
    assert [m.origin["source"] for m in models] == [SOURCES[i].name for i in (0, 1, 2, 0)]
    for model in (base, *models):
        record, head = model.origin["record"], model.head
        assert head is not None
        n_classes = int(head.spec["classes"])
        assert record["accuracy"] > 1.4 / n_classes
        assert len(record["losses"]) == model.origin["training"]["epochs"] == QUICK.epochs
        assert record["losses"][-1] < record["losses"][0]
        assert record["seconds"] > 0


def test_the_stored_model_and_head_are_what_was_judged(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    model = small_set(store, [2])[1]
    data = clusters().test
    blocks = [block_module(b.spec, store.read_block(b)) for b in model.blocks]
    assert model.head is not None
    head = store.read_block(model.head)
    inputs = data.batch(range(len(data)))
    logits = torch.nn.functional.linear(run_chain(blocks, inputs), head["weight"], head["bias"])
    correct = (logits.argmax(dim=1).numpy() == data.labels).mean()
    assert correct == pytest.approx(model.origin["record"]["accuracy"])


def check_batch_norm(store: SnapshotStore, base: Snapshot, model: Snapshot, first: int) -> None:
    """See that running statistics moved exactly where a block was trained."""
    assert model.blocks[:first] == base.blocks[:first]
    moved = 0
    for index, (mine, its) in enumerate(zip(model.blocks, base.blocks, strict=True)):
        tensors, theirs = store.read_block(mine), store.read_block(its)
        for name in (name for name in tensors if "running_" in name or "num_batches" in name):
            assert equal_bytes(tensors[name], theirs[name]) == (index < first)
            moved += index >= first
    assert moved > 0


def test_batch_norm_of_frozen_blocks_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = toy_chain(monkeypatch)
    store, source = SnapshotStore(tmp_path), Source("clusters", clusters((WIDTH,)))
    base, *models = trained_set(store, "toy", 4, [source], QUICK, distribution=[1, 2, 4])
    for model, retrained in zip(models, [1, 2, 4], strict=True):
        check_batch_norm(store, base, model, toy.cuts[retrained])


def test_batch_norm_of_a_frozen_resnet_stays_as_it_is(tmp_path: Path) -> None:
    store, source = SnapshotStore(tmp_path), Source("digits", load("digits", num_train_items=200))
    quick = Training(epochs=3, batch_size=32)
    base, model = trained_set(store, "resnet_tiny", 2, [source], quick, distribution=[2])
    check_batch_norm(store, base, model, chain("resnet_tiny").cuts[2])
    assert model.origin["record"]["accuracy"] > 0.2  # one in ten by chance


def test_two_stores_hold_the_same_and_another_seed_gives_others(tmp_path: Path) -> None:
    def keys(name: str, seed: int) -> list[list[str]]:
        store = SnapshotStore(tmp_path / name)
        models = trained_set(store, "mlp_tiny", 4, SOURCES, QUICK, seed=seed)
        return [[block.key for block in model.blocks] for model in models]

    first = keys("a", 1)
    assert keys("b", 1) == first
    assert keys("c", 2) != first


def test_what_is_there_is_not_trained_again(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    first = small_set(store, [1, 2])
    assert small_set(store, [1, 2]) == first
    assert small_set(store, [1, 2, 3])[:3] == first
    assert not list((tmp_path / "training").iterdir())
    with pytest.raises(OtherSetError, match="has retrained 1, asked for was 3"):
        small_set(store, [3])


def test_a_model_that_lost_a_block_is_trained_again_to_the_same(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    models = small_set(store, [1, 2])
    store.block_path(models[1].blocks[-1]).unlink()
    again = small_set(store, [1, 2])
    assert [model.blocks for model in again] == [model.blocks for model in models]
    for model in again:
        for block in model.blocks:
            store.read_block(block, verify=True)


def test_a_base_is_trained_once(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    base = trained_base(store, "mlp_tiny", SOURCES[0], QUICK)
    assert base == trained_base(store, "mlp_tiny", SOURCES[0], QUICK)
    assert base.name == "mlp_tiny-base-clusters"
    assert small_set(store, [1])[0] == base


def test_without_a_source_nothing_is_trained(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no source"):
        trained_set(SnapshotStore(tmp_path), "mlp_tiny", 2, [], QUICK)


_TRAIN = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from sets_data import clusters
from bench_core.snapshots.checkpoint import Checkpoint
from bench_core.snapshots.sources import sources_of
from bench_core.snapshots.store import SnapshotStore
from bench_core.snapshots.trained import trained_set
from bench_core.snapshots.training import Training

class Killed(Checkpoint):
    saved = 0
    def save(self, state):
        original(self, state)
        Killed.saved += 1
        if Killed.saved == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)

original, Checkpoint.save = Checkpoint.save, Killed.save
quick = Training(epochs=4, learning_rate=1e-2, batch_size=32, checkpoint_every=1)
sources = sources_of(clusters(), "clusters")
trained_set(SnapshotStore(Path(sys.argv[2])), "mlp_tiny", 3, sources, quick)
print(Killed.saved)
"""


def _run_training(folder: Path, killed_after: int) -> subprocess.CompletedProcess[str]:
    """Train a set of 3 models of 4 epochs, a state saved after each."""
    here = str(Path(__file__).parent)
    arguments = [sys.executable, "-c", _TRAIN, here, str(folder), str(killed_after)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(arguments, env=environment, text=True, capture_output=True, check=False)


def test_a_training_that_was_killed_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    assert _run_training(killed, 6).returncode == -signal.SIGKILL
    assert len(list(killed.glob("training/*.pt"))) == 1  # the second model, half trained
    assert _run_training(killed, 0).stdout == "6\n"  # the epochs that were left
    assert _run_training(whole, 0).stdout == "12\n"
    ends = [SnapshotStore(folder) for folder in (killed, whole)]
    assert ends[0].names() == ends[1].names()
    for name in ends[0].names():
        assert ends[0].snapshot(name).blocks == ends[1].snapshot(name).blocks


def test_fine_tuning_gives_an_accuracy_and_leaves_the_model_as_it_is(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    model = small_set(store, [2])[1]
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    target = clusters(n_classes=3)
    accuracy = fine_tune(model, store, target, QUICK)
    assert accuracy > 0.6
    assert fine_tune(model, store, target, QUICK) == accuracy
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before


def test_rank_correlation_looks_at_the_order_alone() -> None:
    scores = [0.1, 0.4, 0.2, 0.9]
    assert rank_correlation(scores, [s**3 for s in scores]).spearman == pytest.approx(1)
    assert rank_correlation(scores, [-s for s in scores]).kendall == pytest.approx(-1)
    # One pair of six is the other way round: tau = (5 - 1) / 6, rho = 1 - 6 * 2 / (4 * 15).
    swapped = rank_correlation(scores, [0.1, 0.2, 0.4, 0.9])
    assert swapped.kendall == pytest.approx(2 / 3)
    assert swapped.spearman == pytest.approx(0.8)
    with pytest.raises(ScoresError, match="3 scores against 4"):
        rank_correlation([1, 2, 3], scores)
