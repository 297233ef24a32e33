"""The linear head: the published training, to the bit the same for any company of models."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from proxy_cases import features_of, random_task
from torch.nn.functional import cross_entropy

from bench_core.model_search.proxies import Features, Score, Task, get
from bench_core.model_search.proxies.linear import initial_weights


def plainly(features: Features, task: Task, seed: int, epochs: int, rate: float) -> Score:
    """Train as one would with autograd and `torch.optim.SGD`."""
    dim = features.train.shape[1]
    start = initial_weights(dim, task.n_classes, seed)
    head = torch.nn.Linear(dim, task.n_classes)
    with torch.no_grad():
        head.weight.copy_(start[:, :dim])
        head.bias.copy_(start[:, dim])
    optimiser = torch.optim.SGD(head.parameters(), lr=rate)
    for _ in range(epochs):
        for items, labels in zip(
            features.train.split(list(task.train_batches)),
            task.train_labels.split(list(task.train_batches)),
            strict=True,
        ):
            optimiser.zero_grad()
            cross_entropy(head(items), labels).backward()
            optimiser.step()
    with torch.no_grad():
        outputs = head(features.test)
        losses = [
            cross_entropy(o, y)
            for o, y in zip(
                outputs.split(list(task.test_batches)),
                task.test_labels.split(list(task.test_batches)),
                strict=True,
            )
        ]
    value = float((outputs.argmax(1) == task.test_labels).double().mean())
    return Score(value, float(torch.stack(losses).mean()), epochs * len(task.train_batches))


@pytest.mark.parametrize(
    ("n", "dim", "n_classes", "batch"),
    [(25, 512, 10, 32), (75, 64, 3, 32), (100, 33, 120, 7), (65, 16, 2, 64), (40, 1, 4, 40)],
)
def test_it_is_a_linear_layer_trained_by_gradient_descent(
    n: int, dim: int, n_classes: int, batch: int
) -> None:
    task = random_task(n, 50, n_classes, batch=batch)
    features = features_of(task, dim, 0.3)
    features = Features(features.train / 4, features.test / 4)
    found = get("linear", epochs=20).score([features], task, 5)[0]
    expected = plainly(features, task, 5, 20, 0.1)
    assert found.steps == expected.steps
    assert found.value == expected.value
    assert found.loss == pytest.approx(expected.loss, rel=1e-5)


def test_the_published_length_and_rate_are_the_default() -> None:
    task = random_task(60, 40, 4)
    features = features_of(task, 24, 0.4)
    found = get("linear").score([features], task, 0)[0]
    expected = plainly(features, task, 0, 100, 0.1)
    assert (found.value, found.steps) == (expected.value, 200)
    assert found.loss == pytest.approx(expected.loss, rel=1e-4)


@given(
    n=st.integers(2, 1000),
    dim=st.sampled_from([16, 17, 64, 100, 512, 513, 768, 2048]),
    n_classes=st.integers(2, 120),
    n_models=st.integers(1, 40),
    batch=st.sampled_from([1, 7, 32, 128]),
    data=st.data(),
)
@settings(max_examples=25, deadline=None)
def test_bits_do_not_depend_on_the_other_models(
    n: int, dim: int, n_classes: int, n_models: int, batch: int, data: st.DataObject
) -> None:
    task = random_task(n, 20, n_classes, batch=max(batch, n // 8))
    pool = [features_of(task, dim, apart, i) for i, apart in enumerate([0.0, 0.1, 0.5])]
    order = data.draw(st.lists(st.integers(0, 2), min_size=n_models, max_size=n_models))
    head = get("linear", epochs=1)
    alone = [head.score([one], task, 0)[0] for one in pool]
    assert head.score([pool[i] for i in order], task, 0) == [alone[i] for i in order]


def test_models_of_different_sizes_are_scored_together() -> None:
    task = random_task(40, 20, 4)
    models = [features_of(task, dim, 0.5) for dim in (16, 40, 16, 7)]
    head = get("linear", epochs=5)
    assert head.score(models, task, 0) == [head.score([one], task, 0)[0] for one in models]


def test_only_seed_size_and_classes_decide_the_start() -> None:
    start = initial_weights(50, 4, 1)
    assert torch.equal(start, initial_weights(50, 4, 1))
    for other in (initial_weights(50, 4, 2), initial_weights(50, 5, 1)[:4]):
        assert not torch.equal(start, other)
    drawn, padding = start[:, :51], start[:, 51:]
    assert padding.shape[1] == 13
    assert not padding.any()
    assert float(drawn.abs().max()) <= 50**-0.5
    assert float(drawn.abs().max()) > 0.9 * 50**-0.5
    assert drawn.unique().numel() == 4 * 51


def test_the_global_generator_is_left_alone() -> None:
    task = random_task(40, 20, 4)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    get("linear", epochs=1).score([features_of(task, 8, 1)], task, 0)
    assert torch.equal(torch.rand(4), expected)


def test_features_are_left_as_they_were() -> None:
    task = random_task(40, 20, 4)
    features = features_of(task, 15, 1)
    before = (features.train.clone(), features.test.clone())
    get("linear", epochs=2).score([features], task, 0)
    assert torch.equal(features.train, before[0])
    assert torch.equal(features.test, before[1])


def test_a_diverged_head_has_no_score_unless_features_are_standardised() -> None:
    task = random_task(64, 32, 3)
    good = features_of(task, 16, 2.0)
    huge = Features(good.train * 1e30, good.test * 1e30)
    diverged, kept = get("linear").score([huge, good], task, 0)
    assert (diverged.value, diverged.loss, diverged.steps) == (-math.inf, None, 200)
    assert "diverged; set standardise" in diverged.note
    assert kept == get("linear").score([good], task, 0)[0]
    standard = get("linear", standardise=True).score([huge, good], task, 0)
    assert standard[0].value == standard[1].value > 0.9
    assert standard[0].note == ""


def test_standardised_features_have_one_scale_and_constant_ones_are_harmless() -> None:
    task = random_task(64, 32, 3)
    good = features_of(task, 16, 1.0)
    factors = torch.logspace(-3, 3, 16)
    constant = torch.full((96, 1), 0.1)
    uneven = Features(
        torch.cat([good.train * factors, constant[:64]], 1),
        torch.cat([good.test * factors, constant[:32]], 1),
    )
    plain = Features(
        torch.cat([good.train, torch.zeros(64, 1)], 1),
        torch.cat([good.test, torch.zeros(32, 1)], 1),
    )
    first, second = get("linear", standardise=True).score([uneven, plain], task, 0)
    assert first.value == second.value
    assert first.loss == pytest.approx(second.loss, rel=1e-3)
