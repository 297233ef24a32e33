"""Tasks: the same items for a recipe, of the shapes that are asked for, with something to learn."""

from __future__ import annotations

import pickle

import pytest
import torch

from bench_core.errors import UnknownNameError
from bench_core.torch_threads import torch_threads
from bench_core.weight_transfer import applications, tasks
from bench_core.weight_transfer.errors import TaskError
from bench_core.weight_transfer.tasks import Items, Task, TaskRecipe


def small(name: str) -> TaskRecipe:
    sizes = {"nt3": [200], "attn": [30, 40], "uno": [1, 30, 40], "combo": [20, 30, 30]}
    return TaskRecipe.of(name, inputs=sizes[name], n_train=300, n_validation=50)


def test_a_recipe_gives_equal_items_wherever_it_is_opened() -> None:
    recipe = small("attn")
    one, two = recipe.open(), pickle.loads(pickle.dumps(recipe)).open()
    for first, second in zip(one.train.inputs, two.train.inputs, strict=True):
        assert torch.equal(first, second)
    assert torch.equal(one.validation.targets, two.validation.targets)
    other = TaskRecipe.of("attn", **{**dict(recipe.settings), "seed": 1}).open()
    assert not torch.equal(one.train.targets, other.train.targets)


@pytest.mark.parametrize("recipe", [applications.get("toy_regression").task, small("uno")])
def test_items_have_the_same_bits_for_any_number_of_threads(recipe: TaskRecipe) -> None:
    found = []
    for count in (1, 2, 3):
        with torch_threads(count):
            found.append(recipe.open())
            assert torch.get_num_threads() == count
    for items in zip(*map(_sides, found), strict=True):
        one, *others = [(*side.inputs, side.targets) for side in items]
        for other in others:
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_lists_in_lists_are_taken_for_tuples_too() -> None:
    sizes = {"outputs": 2, "n_train": 2, "n_validation": 2}
    listed = TaskRecipe.of("generated", shapes=[[1, 8], [4]], **sizes)
    assert listed == TaskRecipe.of("generated", shapes=((1, 8), (4,)), **sizes)
    assert hash(listed) == hash(pickle.loads(pickle.dumps(listed)))


@pytest.mark.parametrize(
    ("name", "shapes", "outputs", "kind"),
    [
        ("nt3", ((1, 200),), 2, "classification"),
        ("attn", ((30,), (40,)), 2, "classification"),
        ("uno", ((1,), (30,), (40,)), 1, "regression"),
        ("combo", ((20,), (30,), (30,)), 1, "regression"),
    ],
)
def test_tasks_of_candle_shapes(
    name: str, shapes: tuple[tuple[int, ...], ...], outputs: int, kind: str
) -> None:
    task = small(name).open()
    assert (task.shapes, task.outputs, task.kind) == (shapes, outputs, kind)
    assert (len(task.train), len(task.validation)) == (300, 50)
    assert all(0.5 < float(x.std()) < 2 for x in task.train.inputs)


def test_the_digits_are_real_and_split_by_class() -> None:
    task = TaskRecipe.of("digits").open()
    assert task.shapes == ((64,),)
    assert len(task.train) + len(task.validation) == 1797
    assert set(task.validation.targets.tolist()) == set(range(10))
    assert TaskRecipe.of("digits", as_sequence=True).open().shapes == ((1, 64),)


def test_generated_targets_can_be_learnt_from_the_inputs() -> None:
    task = tasks.generated([(40,), (50,)], 1, kind="regression", n_train=2000, n_validation=500)
    sides = [torch.cat([*side.inputs, torch.ones(len(side), 1)], dim=1) for side in _sides(task)]
    weights = torch.linalg.lstsq(sides[0], task.train.targets).solution
    linear = task.score(sides[1] @ weights, task.validation.targets)
    assert 0.2 < linear < 0.98


def _sides(task: Task) -> tuple[Items, Items]:
    return task.train, task.validation


def test_scores() -> None:
    classes = tasks.generated([(3,)], 2, n_train=2, n_validation=2)
    outputs = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    assert classes.score(outputs, torch.tensor([1, 1])) == 0.5
    values = tasks.generated([(3,)], 1, kind="regression", n_train=2, n_validation=2)
    targets = torch.tensor([[0.0], [2.0]])
    assert values.score(targets, targets) == 1
    assert values.score(torch.ones(2, 1), targets) == 0


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'digits'"):
        TaskRecipe.of("digit")
    with pytest.raises(TaskError, match="wide"):
        TaskRecipe.of("digits", wide=3).open()
    with pytest.raises(TaskError, match="expected 2 lengths"):
        TaskRecipe.of("attn", inputs=[3]).open()
    with pytest.raises(TaskError, match="kind 'clasification', expected one of"):
        tasks.generated([(3,)], 2, kind="clasification", n_train=2, n_validation=2)  # type: ignore[arg-type]
    with pytest.raises(TaskError, match="judged by 2 items or more"):
        tasks.generated([(3,)], 2, kind="regression", n_train=2, n_validation=1)
    with pytest.raises(TaskError, match="positive integers"):
        tasks.generated([(0,)], 2, n_train=2, n_validation=2)
