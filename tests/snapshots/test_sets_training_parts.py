"""Training of some stages alone, by SGD with a falling rate: what changes, and what stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sets_data import clusters
from sets_family import WIDTH, toy_chain
from torch import nn

from bench_core.models import equal_bytes
from bench_core.models.chains import block_module, chain, initialised, run_chain
from bench_core.snapshots.checkpoint import Checkpoint
from bench_core.snapshots.trainer import train
from bench_core.snapshots.training import Trained, Training, TrainingError

CHAIN = chain("mlp_tiny")
FALLING = Training(
    epochs=5,
    learning_rate=0.05,
    batch_size=256,
    checkpoint_every=1,
    optimizer="sgd",
    momentum=0.9,
    decay_every=2,
    decay=0.5,
)


def start() -> list[dict[str, torch.Tensor]]:
    return [initialised(block, index) for index, block in enumerate(CHAIN.blocks)]


def changed(after: dict[str, torch.Tensor], before: dict[str, torch.Tensor]) -> bool:
    assert after.keys() == before.keys()
    return any(not equal_bytes(after[name], before[name]) for name in before)


def by_hand(head: tuple[torch.Tensor, torch.Tensor]) -> tuple[list[float], torch.Tensor]:
    """Train with torch's schedule, all items in a batch; return losses and the head's weight."""
    items = clusters().train
    blocks = [block_module(*pair) for pair in zip(CHAIN.blocks, start(), strict=True)]
    linear = nn.Linear(CHAIN.feature_dim, 4)
    linear.load_state_dict({"weight": head[0], "bias": head[1]})
    model = nn.ModuleList([*blocks, linear]).train().requires_grad_(True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
    losses = []
    for _ in range(FALLING.epochs):
        logits = linear(run_chain(blocks, items.batch(np.arange(len(items)))))
        loss = nn.functional.cross_entropy(logits, torch.from_numpy(items.labels))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses, linear.weight.detach()


def test_sgd_with_a_falling_rate_is_torch_s_own() -> None:
    untrained = train(CHAIN, start(), 0, clusters(), Training(epochs=0), seed=1)
    trained = train(CHAIN, start(), 0, clusters(), FALLING, seed=1)
    losses, weight = by_hand(untrained.head)
    # All items are one batch: their order changes the sums' last bits alone.
    assert trained.losses == pytest.approx(losses, rel=1e-4)
    torch.testing.assert_close(trained.head[0], weight, rtol=1e-3, atol=1e-5)


def test_the_rate_falls_each_so_many_epochs() -> None:
    rates = [FALLING.rate(epoch) for epoch in range(6)]
    assert rates == pytest.approx([0.05, 0.05, 0.025, 0.025, 0.0125, 0.0125])
    assert Training(learning_rate=0.1).rate(1000) == 0.1


def test_a_falling_rate_is_taken_up_after_an_interruption(tmp_path: Path) -> None:
    whole = train(CHAIN, start(), 1, clusters(), FALLING, seed=1)
    checkpoint = Checkpoint(tmp_path / "state.pt", FALLING.plan())
    begun = replace(FALLING, epochs=3)
    train(CHAIN, start(), 1, clusters(), begun, seed=1, checkpoint=checkpoint)
    resumed = train(CHAIN, start(), 1, clusters(), FALLING, seed=1, checkpoint=checkpoint)
    assert resumed.losses == whole.losses
    assert all(equal_bytes(a, b) for a, b in zip(resumed.head, whole.head, strict=True))
    assert len(resumed.epoch_seconds) == FALLING.epochs
    assert resumed.seconds == sum(resumed.epoch_seconds) > 0


@pytest.mark.parametrize(("first", "stop"), [(0, 2), (2, 4), (2, 8), (5, 6)])
def test_blocks_before_and_behind_stay_with_their_statistics(
    monkeypatch: pytest.MonkeyPatch, first: int, stop: int
) -> None:
    toy = toy_chain(monkeypatch)
    tensors = [initialised(block, index) for index, block in enumerate(toy.blocks)]
    before = [{name: item.clone() for name, item in block.items()} for block in tensors]
    trained = train(toy, tensors, first, clusters((WIDTH,)), FALLING, seed=1, stop=stop)
    assert trained.frozen.keys() == set(range(8)) - set(range(first, stop))
    assert not any(changed(block, before[index]) for index, block in trained.frozen.items())
    assert len(trained.blocks) == stop - first
    assert all(changed(*pair) for pair in zip(trained.blocks, before[first:stop], strict=True))
    assert not any(changed(*pair) for pair in zip(tensors, before, strict=True))


@pytest.mark.parametrize("stop", [0, 1])
def test_without_a_block_to_train_it_is_the_head_alone(stop: int) -> None:
    def run(first: int, stop: int | None) -> Trained:
        return train(CHAIN, start(), first, clusters(), FALLING, seed=1, stop=stop)

    head, none = run(len(CHAIN.blocks), None), run(1, stop)
    assert none.blocks == ()
    assert none.losses == head.losses
    assert equal_bytes(none.head[0], head.head[0])


def test_plans_name_what_is_new_only_where_it_is_used() -> None:
    old = {"epochs": 20, "learning_rate": 1e-3, "batch_size": 128, "keep_bytes": 1 << 30}
    assert Training().plan() == old
    assert Training(optimizer="sgd", momentum=0.9).plan() == {
        **old,
        "optimizer": "sgd",
        "momentum": 0.9,
    }


def test_an_unknown_optimizer_is_refused() -> None:
    unknown: Any = "lbfgs"
    with pytest.raises(TrainingError, match="'lbfgs'; expected adam or sgd"):
        train(CHAIN, start(), 0, clusters(), Training(optimizer=unknown), seed=1)
