"""One candidate: what is transferred, frozen, trained, stored, and when each was done."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch

from bench_core.weight_transfer import (
    ArchitectureGraph,
    LayerStore,
    Match,
    layers,
    materialise,
    sequential,
    tasks,
)
from bench_core.weight_transfer.errors import TaskError
from bench_core.weight_transfer.methods import Noop, StoreMethod
from bench_core.weight_transfer.stores import MemoryShard
from bench_core.weight_transfer.trainer import TransferTrainer
from bench_core.weight_transfer.training import TrainingPlan

TASK = tasks.generated([(8,)], 3, n_train=128, n_validation=64)
PHASES = ("name", "query", "build", "fetch", "apply", "freeze", "train", "evaluate")


def stack(*widths: int) -> ArchitectureGraph:
    """Dense layers with batch normalisation and dropout between them, to three classes."""
    made, width = [], 8
    for units in widths:
        made += [layers.dense((width,), units, "relu"), layers.batch_norm((units,))]
        made.append(layers.dropout((units,), 0.2))
        width = units
    return sequential([*made, layers.dense((width,), 3)])


@pytest.fixture
def method() -> Iterator[StoreMethod]:
    with StoreMethod(LayerStore([MemoryShard()])) as made:
        yield made


def inherited(values: dict[str, torch.Tensor], positions: range) -> dict[str, torch.Tensor]:
    return {k: v for k, v in values.items() if int(k.partition(".")[0]) in positions}


def test_a_child_takes_the_prefix_keeps_it_frozen_and_stores_the_rest(method: StoreMethod) -> None:
    trainer = TransferTrainer(method, TASK, TrainingPlan(epochs=2))
    parent, child = stack(16, 8), stack(16, 4)
    first = trainer.run(1, parent)
    assert first.match is None and first.stored is not None
    assert first.stored.bytes_physical == parent.nbytes
    second = trainer.run(2, child)
    assert second.match == Match(1, (0, 1, 2), 3)
    # Parameters and running statistics alike.
    of_parent, of_child = method.get(1), method.get(2)
    for name, tensor in inherited(of_parent, range(3)).items():
        assert torch.equal(of_child[name], tensor), name
    assert not torch.equal(of_child["4.running_mean"], torch.zeros(4))
    assert second.stored is not None
    shared = sum(t.nbytes for t in inherited(of_parent, range(3)).values())
    assert second.bytes_fetched == shared
    assert second.stored.bytes_physical == child.nbytes - shared
    assert method.layer_store.owner_map(2)[child.tensor_ids()["0.weight"]] == 1


def test_every_phase_is_stamped_and_nothing_is_left_out(method: StoreMethod) -> None:
    trainer = TransferTrainer(method, TASK)
    alone = trainer.run(1, stack(8)).phases
    assert tuple(alone) == (*(p for p in PHASES if p not in ("fetch", "apply")), *STORED)
    phases = trainer.run(2, stack(8, 4)).phases
    assert tuple(phases) == (*PHASES, *STORED)
    assert all(spent >= 0 for spent in phases.values())
    assert min(phases["train"], phases["fetch"], phases["store_data"]) > 0


STORED = ("store_data", "store_meta", "unfreeze")


@pytest.mark.parametrize("frozen_epochs", [0, 1])
def test_what_was_trained_after_its_transfer_is_the_childs_own(
    method: StoreMethod, frozen_epochs: int
) -> None:
    plan = TrainingPlan(epochs=2, frozen_epochs=frozen_epochs)
    trainer = TransferTrainer(method, TASK, plan)
    trainer.run(1, stack(16, 8))
    child = stack(16, 4)
    trained = trainer.run(2, child)
    assert trained.match is not None and trained.match.positions == (0, 1, 2)
    assert not torch.equal(method.get(2)["0.weight"], method.get(1)["0.weight"])
    assert trained.stored is not None and trained.stored.bytes_physical == child.nbytes
    assert method.layer_store.record(2).parent == 1
    assert set(method.layer_store.owner_map(2).values()) == {2}


def test_frozen_for_as_many_epochs_as_there_are_is_frozen_for_good(method: StoreMethod) -> None:
    trainer = TransferTrainer(method, TASK, TrainingPlan(epochs=2, frozen_epochs=2))
    trainer.run(1, stack(16, 8))
    trainer.run(2, stack(16, 4))
    assert torch.equal(method.get(2)["0.weight"], method.get(1)["0.weight"])


def test_without_the_weights_the_same_layers_are_frozen_at_their_first_values(
    method: StoreMethod,
) -> None:
    TransferTrainer(method, TASK, TrainingPlan(epochs=2)).run(1, stack(16, 8))
    child = stack(16, 4)
    trainer = TransferTrainer(method, TASK, TrainingPlan(epochs=2, takes_weights=False))
    trained = trainer.run(2, child, seed=0)
    first = materialise(child, seed=0).state_dict()
    found = method.get(2)
    assert trained.match == Match(1, (0, 1, 2), 3) and trained.bytes_fetched == 0
    assert all(torch.equal(found[name], first[name]) for name in inherited(first, range(3)))
    assert not torch.equal(found["3.weight"], first["3.weight"])
    assert trained.stored is not None and trained.stored.bytes_physical == child.nbytes


def test_a_training_ends_when_patience_does(method: StoreMethod) -> None:
    linear = sequential([layers.dense((8,), 3)])
    plan = TrainingPlan(epochs=50, learning_rate=1e-12, patience=3)
    assert len(TransferTrainer(method, TASK, plan).run(1, linear).losses) == 4
    plan = TrainingPlan(epochs=5, patience=5)
    assert len(TransferTrainer(method, TASK, plan).run_with(2, linear, None).losses) == 5


def test_layers_that_an_early_end_left_frozen_are_the_donors(method: StoreMethod) -> None:
    TransferTrainer(method, TASK).run(1, stack(16, 8))
    plan = TrainingPlan(epochs=50, frozen_epochs=40, learning_rate=1e-12, patience=2)
    trained = TransferTrainer(method, TASK, plan).run(2, stack(16, 4))
    assert len(trained.losses) < 40
    assert method.layer_store.owner_map(2)[stack(16, 4).tensor_ids()["0.weight"]] == 1


def test_a_child_that_equals_its_donor_is_scored_and_stored_without_bytes(
    method: StoreMethod,
) -> None:
    trainer = TransferTrainer(method, TASK)
    first = trainer.run(1, stack(8))
    second = trainer.run(2, stack(8))
    assert second.accuracy == first.accuracy
    assert second.stored is not None and second.stored.bytes_physical == 0
    assert method.models() == [1, 2]


def test_a_seed_decides_every_bit_and_torchs_own_generator_is_left_alone(
    method: StoreMethod,
) -> None:
    trainer = TransferTrainer(method, TASK, TrainingPlan(epochs=2, optimizer="sgd"))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    for model, seed in ((1, 3), (2, 3), (3, 4)):
        trainer.run_with(model, stack(8), None, seed=seed)
    assert torch.equal(torch.get_rng_state(), before)
    one, two, three = (method.get(model) for model in (1, 2, 3))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["0.weight"], three["0.weight"])


def test_training_learns(method: StoreMethod) -> None:
    task = tasks.TaskRecipe.of("digits").open()
    graph = sequential([layers.dense((64,), 32, "relu"), layers.dense((32,), 10)])
    trained = TransferTrainer(method, task, TrainingPlan(epochs=5)).run(1, graph)
    assert trained.accuracy > 0.8
    assert trained.losses[-1] < trained.losses[0]


def test_an_epoch_of_single_items_trains_on_each_of_them(
    method: StoreMethod, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    step = torch.optim.SGD.step

    def counted(self: torch.optim.SGD) -> None:
        steps.append(1)
        step(self)

    monkeypatch.setattr(torch.optim.SGD, "step", counted)
    graph = sequential([layers.dense((8,), 3)])
    TransferTrainer(method, TASK, TrainingPlan(batch_size=1, optimizer="sgd")).run(1, graph)
    assert len(steps) == len(TASK.train)


def test_a_device_that_is_not_there_is_refused(method: StoreMethod) -> None:
    with pytest.raises(TaskError, match="device 'cpux' cannot be used"):
        TransferTrainer(method, TASK, TrainingPlan(device="cpux"))
    trained = TransferTrainer(method, TASK, TrainingPlan(device="cpu:0")).run(1, stack(8))
    assert math.isfinite(trained.accuracy)


def test_values_that_are_not_finite_are_no_score_and_are_not_stored(method: StoreMethod) -> None:
    plan = TrainingPlan(epochs=3, learning_rate=1e30, optimizer="sgd")
    trained = TransferTrainer(method, TASK, plan).run(1, stack(8))
    assert trained.accuracy == -math.inf
    assert trained.stored is None
    assert method.models() == []


def test_without_transfer_nothing_is_kept() -> None:
    with Noop() as method:
        trainer = TransferTrainer(method, TASK)
        trained = [trainer.run(model, stack(8)) for model in (1, 2)]
        assert [one.match for one in trained] == [None, None]
        assert method.nbytes() == 0


def test_an_architecture_of_another_task_is_refused(method: StoreMethod) -> None:
    trainer = TransferTrainer(method, TASK)
    wide = sequential([layers.input_layer((9,)), layers.dense((9,), 3)])
    with pytest.raises(TaskError, match=r"inputs of shape \[9\], the task's are \[8\]"):
        trainer.run(1, wide)
    with pytest.raises(TaskError, match=r"outputs \[4\], the task has 3"):
        trainer.run(1, sequential([layers.dense((8,), 4)]))
    two = ArchitectureGraph((layers.dense((8,), 3), layers.dense((8,), 3)), ((), ()))
    with pytest.raises(TaskError, match="2 inputs and 2 outputs, expected 1 and 1"):
        trainer.run(1, two)


def test_plans_that_cannot_be_are_refused() -> None:
    with pytest.raises(TaskError, match="epochs 0"):
        TrainingPlan(epochs=0)
    with pytest.raises(TaskError, match="optimizer 'lion'"):
        TrainingPlan(optimizer="lion")  # type: ignore[arg-type]
    with pytest.raises(TaskError, match="patience 0"):
        TrainingPlan(patience=0)
    with pytest.raises(TaskError, match="frozen_epochs -1"):
        TrainingPlan(frozen_epochs=-1)
