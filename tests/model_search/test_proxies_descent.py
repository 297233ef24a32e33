"""Many heads in one loop: each to the bit as alone, whatever lies beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench_core.model_search.proxies.descent import (
    Batch,
    batches_of,
    descend,
    heads_at_once,
    in_lines,
    with_bias,
)
from bench_core.torch_threads import torch_threads

SIZES = st.lists(st.sampled_from([1, 2, 7, 15, 16, 17, 25, 32, 33, 64]), min_size=1, max_size=4)
# Those of 512 and more take the way of large products with many classes, the others never do.
DIMS = st.sampled_from([1, 3, 15, 16, 31, 64, 100, 200, 512, 768])


@pytest.fixture(autouse=True)
def on_one_thread() -> Iterator[None]:
    with torch_threads(1):
        yield


def drawn(
    sizes: Sequence[int], dim: int, n_classes: int, n_models: int, seed: int = 0
) -> tuple[list[Batch], list[Tensor], Tensor]:
    """Return batches, the features of each model and a start for all heads."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, n_classes, (sum(sizes),), generator=generator)
    features = [torch.randn(len(labels), dim, generator=generator) for _ in range(n_models)]
    start = torch.zeros(n_classes, in_lines(dim + 1))
    start[:, : dim + 1] = torch.randn(n_classes, dim + 1, generator=generator) / 8
    return batches_of(labels, sizes, n_classes), features, start


def fitted(start: Tensor, features: Sequence[Tensor], batches: Sequence[Batch]) -> Tensor:
    """Return the heads of these models, ``(M, n_classes, padded dim)``."""
    heads = start.repeat(len(features), 1, 1)
    descend(heads, with_bias(features, batches), batches, 0.1, 3)
    return heads


def slowly(start: Tensor, features: Tensor, batches: Sequence[Batch], dim: int) -> Tensor:
    """Descend in float64 with autograd, without fillers, and return ``(n_classes, dim + 1)``."""
    items = torch.cat([features.double(), torch.ones(len(features), 1)], 1)
    weights = start[:, : dim + 1].double().requires_grad_()
    for _ in range(3):
        for part, batch in zip(items.split([b.size for b in batches]), batches, strict=True):
            labels = batch.targets.argmax(0)[: batch.size]
            loss = torch.nn.functional.cross_entropy(part @ weights.T, labels)
            (gradient,) = torch.autograd.grad(loss, weights)
            weights = (weights - 0.1 * gradient).detach().requires_grad_()
    return weights.detach()


@given(
    sizes=SIZES,
    dim=DIMS,
    n_classes=st.sampled_from([2, 3, 10, 16, 17, 100]),
    n_models=st.integers(1, 40),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_a_head_of_a_stack_is_the_head_alone_bit_for_bit(
    sizes: list[int], dim: int, n_classes: int, n_models: int, data: st.DataObject
) -> None:
    batches, features, start = drawn(sizes, dim, n_classes, min(n_models, 4))
    order = data.draw(
        st.lists(st.integers(0, len(features) - 1), min_size=n_models, max_size=n_models)
    )
    together = fitted(start, [features[model] for model in order], batches)
    alone = [fitted(start, [one], batches)[0] for one in features]
    for head, model in zip(together, order, strict=True):
        assert torch.equal(head, alone[model])


@given(sizes=SIZES, dim=DIMS, n_classes=st.sampled_from([2, 10, 100]))
@settings(max_examples=25, deadline=None)
def test_it_is_gradient_descent_and_fillers_add_nothing(
    sizes: list[int], dim: int, n_classes: int
) -> None:
    batches, features, start = drawn(sizes, dim, n_classes, 2)
    heads = fitted(start, [one / dim**0.5 for one in features], batches)
    for head, one in zip(heads, features, strict=True):
        expected = slowly(start, one / dim**0.5, batches, dim)
        torch.testing.assert_close(head[:, : dim + 1].double(), expected, rtol=1e-4, atol=1e-5)
        assert not head[:, dim + 1 :].any()


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 1e30])
def test_a_head_that_diverges_harms_no_other(wrong: float) -> None:
    batches, features, start = drawn([32, 7], 20, 4, 3)
    expected = fitted(start, [features[0], features[2]], batches)
    found = fitted(start, [features[0], features[1] * wrong, features[2]], batches)
    assert torch.equal(found[[0, 2]], expected)
    assert not bool(torch.isfinite(found[1]).all())


@pytest.mark.filterwarnings("error")
def test_a_head_that_diverges_warns_of_nothing() -> None:
    batches, features, start = drawn([32], 20, 4, 1)
    fitted(start, [features[0] * 1e30], batches)


@pytest.mark.parametrize("limit", [1, 2])
def test_threads_of_the_blas_decide_nothing(limit: int) -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl")
    batches, features, start = drawn([32, 32, 9], 127, 30, 3)
    assert heads_at_once(127, batches) > 1
    expected = fitted(start, features, batches)
    with threadpoolctl.threadpool_limits(limit, user_api="blas"):
        assert torch.equal(fitted(start, features, batches), expected)


@given(sizes=SIZES, dim=st.integers(1, 200), n_models=st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_items_keep_their_features_and_every_matrix_starts_on_64_bytes(
    sizes: list[int], dim: int, n_models: int
) -> None:
    batches, features, _ = drawn(sizes, dim, 3, n_models)
    rows = with_bias(features, batches)
    for model, one in zip(rows, features, strict=True):
        for batch, part in zip(batches, one.split(sizes), strict=True):
            found = model[batch.rows]
            assert found.data_ptr() % 64 == batch.targets.data_ptr() % 64 == 0
            assert batch.targets.shape[1] % 16 == 0
            assert torch.equal(found[: batch.size, :dim], part)
            assert bool((found[: batch.size, dim] == 1).all())
            assert not found[: batch.size, dim + 1 :].any()
            assert not found[batch.size :].any()


def test_targets_are_the_labels_and_fillers_have_none() -> None:
    (first, second) = batches_of(torch.tensor([2, 0, 1]), [2, 1], 3)
    assert (first.rows, first.size, second.rows) == (slice(0, 16), 2, slice(16, 32))
    np.testing.assert_array_equal(first.targets[:, :2], [[0, 1], [0, 0], [1, 0]])
    assert float(first.targets.sum()) == 2
    assert second.targets[:, 0].tolist() == [0, 1, 0]


def test_large_heads_and_large_stacks_are_taken_apart() -> None:
    labels = torch.arange(1600) % 10
    few = batches_of(labels[:32], [32], 10)
    many = batches_of(labels, [32] * 50, 10)
    assert heads_at_once(64, few) > 8
    assert heads_at_once(2048, few) == 1
    assert 1 <= heads_at_once(300, many) < heads_at_once(300, few)
