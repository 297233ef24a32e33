"""Training of a chain's last blocks: what changes, what stays, and that it can be repeated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sets_data import clusters
from sets_family import WIDTH, toy_chain

from bench_core.data.dataset import Dataset, Inputs, SearchData
from bench_core.models import equal_bytes
from bench_core.models.chains import chain, initialised
from bench_core.snapshots.checkpoint import Checkpoint
from bench_core.snapshots.trainer import train
from bench_core.snapshots.training import Trained, Training, TrainingError
from bench_core.snapshots.views import Indices, SomeClasses

CHAIN = chain("mlp_tiny")
QUICK = Training(epochs=6, learning_rate=1e-2, batch_size=32, checkpoint_every=2)


def start(seed: int = 0) -> list[dict[str, torch.Tensor]]:
    return [initialised(block, seed + index) for index, block in enumerate(CHAIN.blocks)]


class Counted(SomeClasses):
    """All items of a data set; how many were read."""

    def __init__(self, inner: Dataset) -> None:
        super().__init__(inner, range(len(inner.classes)))
        self.n_items = 0

    def decoded(self, indices: Indices) -> Inputs:
        self.n_items += len(indices)
        return super().decoded(indices)


def tensors_of(trained: Trained) -> list[torch.Tensor]:
    return [tensor for block in trained.blocks for tensor in block.values()] + [*trained.head]


def same(a: Trained, b: Trained) -> bool:
    pairs = zip(tensors_of(a), tensors_of(b), strict=True)
    return all(equal_bytes(x, y) for x, y in pairs) and a.losses == b.losses


def test_a_model_learns_and_its_input_is_left_alone() -> None:
    tensors, untouched = start(), start()
    trained = train(CHAIN, tensors, 2, clusters(), QUICK, seed=1)
    assert trained.accuracy > 0.6  # one in four by chance
    assert trained.losses[-1] < trained.losses[0]
    assert len(trained.losses) == QUICK.epochs
    for block, before in zip(tensors, untouched, strict=True):
        assert all(equal_bytes(block[name], before[name]) for name in before)
    assert len(trained.blocks) == 2
    for block, before in zip(trained.blocks, untouched[2:], strict=True):
        assert block.keys() == before.keys()
        assert not any(equal_bytes(block[name], before[name]) for name in before)
    assert trained.head[0].shape == (4, CHAIN.feature_dim)


def test_training_can_be_repeated_and_does_not_touch_the_global_generator() -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first = train(CHAIN, start(), 1, clusters(), QUICK, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(4)
    assert same(first, train(CHAIN, start(), 1, clusters(), QUICK, seed=1))
    assert not same(first, train(CHAIN, start(), 1, clusters(), QUICK, seed=2))


def test_kept_activations_change_nothing_but_the_work() -> None:
    kept_data, anew_data = Counted(clusters().train), Counted(clusters().train)
    test = clusters().test
    kept = train(CHAIN, start(), 2, SearchData(kept_data, test), QUICK, seed=1)
    no_room = replace(QUICK, keep_bytes=0)
    anew = train(CHAIN, start(), 2, SearchData(anew_data, test), no_room, seed=1)
    assert kept.accuracy == pytest.approx(anew.accuracy, abs=0.05)
    assert kept.losses == pytest.approx(anew.losses, rel=1e-3)
    assert kept_data.n_items == len(kept_data)
    assert anew_data.n_items > QUICK.epochs * len(anew_data)


def test_the_head_alone_is_trained_behind_a_frozen_chain() -> None:
    trained = train(CHAIN, start(), len(CHAIN.blocks), clusters(), QUICK, seed=1)
    assert trained.blocks == ()
    assert trained.losses[-1] < trained.losses[0]


@pytest.mark.parametrize("interrupted_after", [1, 2, 3, 5])
def test_an_interrupted_training_ends_as_if_it_had_not_been(
    tmp_path: Path, interrupted_after: int
) -> None:
    whole = train(CHAIN, start(), 1, clusters(), QUICK, seed=1)
    checkpoint = Checkpoint(tmp_path / "state.pt", QUICK.plan())
    begun = Training(interrupted_after, 1e-2, 32, checkpoint_every=2)
    train(CHAIN, start(), 1, clusters(), begun, seed=1, checkpoint=checkpoint)
    assert (checkpoint.load() is not None) == (interrupted_after >= 2)
    assert same(whole, train(CHAIN, start(), 1, clusters(), QUICK, seed=1, checkpoint=checkpoint))


def test_dropout_is_the_same_after_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = toy_chain(monkeypatch)
    tensors = [initialised(block, index) for index, block in enumerate(toy.blocks)]
    data, checkpoint = clusters((WIDTH,)), Checkpoint(tmp_path / "state.pt", QUICK.plan())
    whole = train(toy, tensors, 2, data, QUICK, seed=1)
    train(toy, tensors, 2, data, replace(QUICK, epochs=3), seed=1, checkpoint=checkpoint)
    torch.manual_seed(99)
    assert same(whole, train(toy, tensors, 2, data, QUICK, seed=1, checkpoint=checkpoint))


def test_a_checkpoint_of_another_plan_or_a_damaged_one_is_not_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state.pt"
    Checkpoint(path, {"seed": 1}).save({"epoch": 3})
    assert Checkpoint(path, {"seed": 1}).load() == {"epoch": 3}
    assert Checkpoint(path, {"seed": 2}).load() is None
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"no checkpoint at all"):
        path.write_bytes(damaged)
        assert Checkpoint(path, {"seed": 1}).load() is None
    Checkpoint(path, {"seed": 1}).remove()
    assert not path.exists()


@pytest.mark.parametrize("n_train", [33, 65, 1])
def test_no_batch_is_left_over_alone(n_train: int) -> None:
    trained = train(
        CHAIN, start(), 2, clusters(n_train=n_train), Training(2, batch_size=32), seed=1
    )
    assert len(trained.losses) == 2


def test_data_of_another_form_are_refused() -> None:
    with pytest.raises(TrainingError, match=r"takes vector of \(64,\).* has vector of \(63,\)"):
        train(CHAIN, start(), 2, clusters((63,)), QUICK, seed=1)


def test_an_empty_data_set_is_refused() -> None:
    with pytest.raises(TrainingError, match="empty"):
        train(CHAIN, start(), 2, clusters(n_test=0), QUICK, seed=1)


def test_a_training_that_diverges_is_named() -> None:
    with pytest.raises(TrainingError, match="learning rate below 1e"):
        train(CHAIN, start(), 0, clusters(), Training(20, learning_rate=1e30), seed=1)
