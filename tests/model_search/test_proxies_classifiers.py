"""Ridge, logistic regression and nearest neighbours against slow or independent computations."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from proxy_cases import KINDS, case_of, features_of, random_task, task_of

from bench_core.model_search.proxies import Features, Score, Task, get


def ridge_slowly(features: Features, task: Task, penalty: float) -> tuple[float, float]:
    """Solve the normal equations with a column of ones that is not penalised."""
    train = features.train.double().numpy()
    items = np.column_stack([train, np.ones(len(train))])
    targets = np.eye(task.n_classes)[task.train_labels.numpy()]
    ridge = penalty * np.eye(items.shape[1])
    ridge[-1, -1] = 0
    weights = np.linalg.solve(items.T @ items + ridge, items.T @ targets)
    test = features.test.double().numpy()
    outputs = np.column_stack([test, np.ones(len(test))]) @ weights
    labels = task.test_labels.numpy()
    loss = ((outputs - np.eye(task.n_classes)[labels]) ** 2).sum(1).mean()
    return float((outputs.argmax(1) == labels).mean()), float(loss)


def gcv_slowly(features: Features, task: Task) -> float:
    """Choose the penalty by the hat matrix of each."""
    items = features.train.double().numpy()
    items = items - items.mean(0)
    targets = np.eye(task.n_classes)[task.train_labels.numpy()]
    n = len(items)
    squares = np.linalg.svd(items, compute_uv=False) ** 2
    scale = squares[squares > 1e-10 * squares.max()].mean()

    def error(power: int) -> float:
        ridge = 10.0**power * scale * np.eye(n)
        hat = items @ items.T @ np.linalg.inv(items @ items.T + ridge) + np.full((n, n), 1 / n)
        residual = ((targets - hat @ targets) ** 2).sum()
        return float(residual / (n - np.trace(hat)) ** 2)

    return float(10.0 ** min(range(-6, 4), key=error) * scale)


@pytest.mark.parametrize(("n", "dim"), [(50, 12), (20, 60), (30, 29), (3, 5)])
@pytest.mark.parametrize("penalty", [0.01, 3.0, None])
@pytest.mark.parametrize("kind", KINDS)
def test_ridge_is_the_penalised_least_squares_fit(
    kind: str, n: int, dim: int, penalty: float | None
) -> None:
    features, task = case_of(kind, n, dim, 4, 0.5)
    found = get("ridge", penalty=penalty).score([features], task, 0)[0]
    value, loss = ridge_slowly(
        features, task, gcv_slowly(features, task) if penalty is None else penalty
    )
    assert (found.value, found.steps) == (value, 1)
    assert found.loss == pytest.approx(loss, rel=1e-5)


def test_ridge_without_a_direction_gives_the_shares_of_the_classes() -> None:
    task = task_of(torch.tensor([0, 1, 1, 2]), torch.tensor([1, 1, 0]), 3)
    features = Features(torch.full((4, 3), 2.0), torch.full((3, 3), 2.0))
    found = get("ridge").score([features], task, 0)[0]
    per_item = [
        sum((s - w) ** 2 for s, w in zip((0.25, 0.5, 0.25), wanted, strict=True))
        for wanted in ((0, 1, 0), (0, 1, 0), (1, 0, 0))
    ]
    assert found.value == pytest.approx(2 / 3)
    assert found.loss == pytest.approx(sum(per_item) / 3)


def test_logistic_is_at_the_optimum_of_its_objective() -> None:
    task = random_task(60, 30, 3)
    features = features_of(task, 8, 0.5)
    found = get("logistic", standardise=False, inverse_penalty=0.5).score([features], task, 0)[0]
    weights = torch.zeros(3, 9, dtype=torch.float64, requires_grad=True)
    items = torch.cat([features.train.double(), torch.ones(60, 1)], 1)
    test = torch.cat([features.test.double(), torch.ones(30, 1)], 1)
    optimiser = torch.optim.LBFGS([weights], max_iter=500, tolerance_grad=1e-10)

    def objective() -> torch.Tensor:
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(
            items @ weights.T, task.train_labels, reduction="sum"
        )
        total = loss + weights[:, :8].square().sum()
        total.backward()
        return total

    optimiser.step(objective)  # type: ignore[no-untyped-call]
    outputs = (test @ weights.T).detach()
    assert found.value == float((outputs.argmax(1) == task.test_labels).double().mean())
    loss = float(torch.nn.functional.cross_entropy(outputs, task.test_labels))
    assert found.loss == pytest.approx(loss, rel=1e-3)
    assert found.steps > 1
    assert found.note == ""


def test_logistic_says_when_it_did_not_converge() -> None:
    task = random_task(60, 30, 3)
    found = get("logistic", max_iterations=1).score([features_of(task, 8, 0.5)], task, 0)[0]
    assert found.note == "the solver did not converge"
    assert math.isfinite(found.value)


def test_logistic_warns_of_nothing_in_a_small_round() -> None:
    task = random_task(25, 10, 20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = get("logistic", max_iterations=2).score([features_of(task, 8, 0.5)], task, 0)[0]
    assert found.steps == 2


def test_logistic_gives_a_class_that_it_never_saw_no_chance() -> None:
    task = task_of(torch.tensor([0, 2, 0, 2]), torch.tensor([1, 2]), 3)
    features = Features(torch.tensor([[-1.0], [1.0], [-2.0], [2.0]]), torch.tensor([[-1.0], [1.5]]))
    found = get("logistic").score([features], task, 0)[0]
    assert found.value == 0.5
    assert found.loss is not None
    assert math.isfinite(found.loss)


def knn_slowly(features: Features, task: Task, count: int, metric: str) -> float:
    """Sort all train items by distance, then let the first vote."""
    right = 0
    for item, label in zip(features.test.double(), task.test_labels.tolist(), strict=True):
        distances = []
        for index, other in enumerate(features.train.double()):
            if metric == "euclidean":
                distance = float((item - other).square().sum())
            else:
                lengths = float(item.norm() * other.norm())
                distance = -float(item @ other) / lengths if lengths else 0.0
            distances.append((distance, index))
        votes = [0] * task.n_classes
        for _, index in sorted(distances)[:count]:
            votes[int(task.train_labels[index])] += 1
        right += votes.index(max(votes)) == label
    return right / len(task.test_labels)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@given(n=st.integers(2, 30), count=st.integers(1, 40), seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_neighbours_are_those_of_a_sorted_list(metric: str, n: int, count: int, seed: int) -> None:
    task = random_task(n, 12, 4, seed)
    features = features_of(task, 5, 0.4, seed)
    found = get("knn", neighbours=count, metric=metric).score([features], task, 0)[0]
    assert found == Score(knn_slowly(features, task, count, metric), None, 1)


@given(seed=st.integers(0, 999), count=st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_neighbours_at_the_same_distance_count_in_the_order_of_the_items(
    seed: int, count: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    task = random_task(12, 10, 3, seed)
    grid = [torch.randint(-1, 2, (size, 2), generator=generator).float() for size in (12, 10)]
    found = get("knn", neighbours=count, metric="euclidean").score([Features(*grid)], task, 0)[0]
    assert found.value == knn_slowly(Features(*grid), task, count, "euclidean")


def test_a_tied_vote_goes_to_the_smaller_label() -> None:
    task = task_of(torch.tensor([2, 1]), torch.tensor([1, 2]), 3)
    features = Features(torch.tensor([[1.0, 0.1], [1.0, 0.2]]), torch.ones(2, 2))
    assert get("knn").score([features], task, 0)[0].value == 0.5


def test_far_more_test_items_than_are_compared_at_once() -> None:
    task = random_task(20, 1300, 3)
    features = features_of(task, 6, 0.6)
    whole: Any = get("knn").score([features], task, 0)[0].value
    parts = [
        get("knn")
        .score(
            [Features(features.train, features.test[start : start + 100])],
            task_of(task.train_labels, task.test_labels[start : start + 100], 3),
            0,
        )[0]
        .value
        for start in range(0, 1300, 100)
    ]
    assert whole == pytest.approx(sum(parts) / 13)
