"""Proxy scores where they are known beforehand: limits, bounds, and what they do not depend on."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from proxy_cases import case_of, features_of, random_task, task_of, uneven_task
from torch import Tensor

from bench_core.model_search.proxies import Features, Proxy, Task, get, names

CLASSIFIERS = ("linear", "ridge", "logistic", "knn")


def value_of(proxy: Proxy, features: Features, task: Task) -> float:
    return proxy.score([features], task, 0)[0].value


def mapped(features: Features, matrix: Tensor) -> Features:
    """Return features that a linear map sends elsewhere, rounded to float32."""
    return Features((features.train.double() @ matrix).float(), features.test)


def rotation(dim: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    found: Tensor = torch.linalg.qr(
        torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    ).Q
    return found


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classes_far_apart_are_told_apart_entirely(name: str) -> None:
    task = uneven_task(80, 40, 4)
    features = features_of(task, 12, 20.0)
    scaled = Features(features.train / 40, features.test / 40)
    assert value_of(get(name), scaled, task) == 1


@pytest.mark.parametrize("name", names())
def test_shuffled_labels_score_lower(name: str) -> None:
    task = random_task(120, 80, 4)
    features = features_of(task, 10, 1.5)
    generator = torch.Generator().manual_seed(1)
    order = torch.randperm(120, generator=generator)
    shuffled = task_of(task.train_labels[order], task.test_labels, 4)
    assert value_of(get(name), features, shuffled) < value_of(get(name), features, task)


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("kind", ["uneven", "deficient", "constant"])
@pytest.mark.parametrize(("n", "dim"), [(40, 8), (16, 60), (30, 1)])
def test_hard_data_have_a_score(name: str, kind: str, n: int, dim: int) -> None:
    features, task = case_of(kind, n, dim, 4, 1.0)
    score = get(name).score([features], task, 0)[0]
    assert math.isfinite(score.value) or "the same" in score.note


@pytest.mark.parametrize("name", ["hscore", "transrate", "ridge", "knn", "logistic"])
def test_features_that_are_the_same_for_all_items_tell_nothing(name: str) -> None:
    """What is left of them without their mean must not be taken for a direction."""
    task = uneven_task(2000, 10, 4)
    always = torch.linspace(0.1, 3.3, 64)
    features = Features(always.repeat(2000, 1), always.repeat(10, 1))
    score = get(name).score([features], task, 0)[0]
    if name == "hscore":
        assert (score.value, score.note) == (-math.inf, "the features of all items are the same")
    elif name == "transrate":
        assert score.value == 0
    else:
        assert score.value == float((task.test_labels == 0).double().mean())


@pytest.mark.parametrize("name", ["hscore", "transrate", "ridge"])
def test_a_feature_that_is_always_the_same_changes_nothing(name: str) -> None:
    features, task = case_of("uneven", 500, 6, 4, 0.5)
    constant = torch.full((500, 1), 0.1)
    wider = Features(
        torch.cat([features.train, constant], 1), torch.cat([features.test, constant[:40]], 1)
    )
    options = {"shrink": False} if name == "hscore" else {}
    proxy = get(name, **options)
    assert value_of(proxy, wider, task) == pytest.approx(value_of(proxy, features, task), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "options"),
    [("logme", {}), ("hscore", {}), ("hscore", {"shrink": False}), ("transrate", {})],
)
@pytest.mark.parametrize(("n", "dim"), [(60, 8), (30, 70)])
def test_a_rotation_changes_nothing_but_rounding(
    name: str, options: dict[str, bool], n: int, dim: int
) -> None:
    features, task = case_of("uneven", n, dim, 3, 0.5)
    proxy = get(name, **options)
    turned = mapped(features, rotation(dim, 0))
    assert value_of(proxy, turned, task) == pytest.approx(value_of(proxy, features, task), rel=1e-4)


@pytest.mark.parametrize("factor", [1e-3, 0.5, 64.0, 1e6])
def test_logme_does_not_depend_on_the_scale(factor: float) -> None:
    features, task = case_of("uneven", 60, 8, 3, 0.7)
    scaled = mapped(features, factor * torch.eye(8, dtype=torch.float64))
    expected = value_of(get("logme"), features, task)
    assert value_of(get("logme"), scaled, task) == pytest.approx(expected, rel=1e-5)


@given(seed=st.integers(0, 999), n_classes=st.integers(2, 5))
@settings(max_examples=20, deadline=None)
def test_plain_h_score_is_bounded_and_the_same_for_every_invertible_map(
    seed: int, n_classes: int
) -> None:
    features, task = case_of("even", 50, 6, n_classes, 1.0, seed)
    stretched = rotation(6, seed) * torch.logspace(-1, 1, 6, dtype=torch.float64)
    plain = get("hscore", shrink=False)
    value = value_of(plain, features, task)
    assert 0 <= value <= n_classes - 1 + 1e-9
    assert value_of(plain, mapped(features, stretched), task) == pytest.approx(value, rel=1e-3)


@given(seed=st.integers(0, 999), dim=st.sampled_from([1, 6, 70]), apart=st.floats(0, 3))
@settings(max_examples=20, deadline=None)
def test_transrate_by_items_is_never_below_0(seed: int, dim: int, apart: float) -> None:
    features, task = case_of("uneven", 40, dim, 4, apart, seed)
    assert value_of(get("transrate"), features, task) >= -1e-9


def test_transrate_weights_classes_of_the_same_size_alike() -> None:
    task = task_of(torch.arange(40) % 4, torch.arange(4), 4)
    features = features_of(task, 9, 1.0)
    values = [value_of(get("transrate", by_items=by), features, task) for by in (True, False)]
    assert values[0] == pytest.approx(values[1], rel=1e-12)


@pytest.mark.parametrize("factor", [1.0, 1e4, 1e12])
def test_transrate_of_repeated_features_is_that_of_longer_ones(factor: float) -> None:
    """At any scale: rounding along directions that features lack must not count as information."""
    task = random_task(60, 5, 3)
    single = features_of(task, 5, 0.5).train * factor
    longer = Features(single * 2, single[:5])
    repeated = Features(single.repeat(1, 4), single[:5].repeat(1, 4))
    expected = value_of(get("transrate"), longer, task)
    assert value_of(get("transrate"), repeated, task) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_leep_of_a_classifier_without_doubt_is_nce(seed: int) -> None:
    task = uneven_task(60, 5, 4)
    features = features_of(task, 3, 0.5, seed)
    assert features.train_source is not None
    sure = torch.nn.functional.one_hot(features.train_source.argmax(1), 7) * 1000.0
    found = Features(features.train, features.test, sure)
    expected = value_of(get("nce"), found, task)
    assert value_of(get("leep"), found, task) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["leep", "nce"])
def test_what_the_source_says_is_worth_no_more_than_the_labels_entropy(name: str) -> None:
    task = uneven_task(200, 5, 4)
    features = features_of(task, 3, 0.0, source=5)
    shares = np.bincount(task.train_labels.numpy()) / 200
    entropy = -float((shares * np.log(shares)).sum())
    value = value_of(get(name), features, task)
    assert -entropy - 1e-12 <= value < 0


def test_logme_says_when_its_evidence_is_not_the_highest() -> None:
    features, task = case_of("even", 60, 8, 3, 0.3)
    few, many = (get("logme", max_iterations=n).score([features], task, 0)[0] for n in (1, 1000))
    assert (few.steps, few.note) == (1, "the evidence is not at its maximum yet")
    assert many.note == ""
    assert few.value < many.value
