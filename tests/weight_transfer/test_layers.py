"""Layers as data: shapes, tensors and FLOPs are those of torch's modules; bad sizes are refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench_core.formats import TensorSpec
from bench_core.models.chains import BlockSpec
from bench_core.weight_transfer.errors import GraphError
from bench_core.weight_transfer.graphs import Layer
from bench_core.weight_transfer.layer_modules import layer_module
from bench_core.weight_transfer.layers import (
    ACTIVATIONS,
    activation,
    add,
    batch_norm,
    concat,
    conv1d,
    dense,
    dropout,
    flatten,
    identity,
    input_layer,
    max_pool1d,
    out_shape,
)

CASES: list[tuple[Layer, list[tuple[int, ...]]]] = [
    (input_layer((3, 4)), [(3, 4)]),
    (dense((5,), 7, "relu"), [(5,)]),
    (dense((3, 5), 7), [(3, 5)]),
    (conv1d((2, 20), 4, 5), [(2, 20)]),
    (conv1d((2, 20), 4, 5, stride=3, activation="tanh"), [(2, 20)]),
    (conv1d((2, 5), 4, 5), [(2, 5)]),
    (max_pool1d((2, 20), 6), [(2, 20)]),
    (flatten((2, 20)), [(2, 20)]),
    (dropout((6,), 0.3), [(6,)]),
    (activation((6,), "softmax"), [(6,)]),
    (add((6,), 3), [(6,), (6,), (6,)]),
    (concat([(2, 6), (2, 1)]), [(2, 6), (2, 1)]),
    (batch_norm((6,)), [(6,)]),
    (batch_norm((6, 4)), [(6, 4)]),
    (batch_norm((6, 4, 4)), [(6, 4, 4)]),
    (identity((6,)), [(6,)]),
]


@pytest.mark.parametrize(("layer", "shapes"), CASES, ids=lambda case: str(case)[:40])
def test_shape_and_tensors_are_those_of_the_module(
    layer: Layer, shapes: list[tuple[int, ...]]
) -> None:
    module = layer_module(layer)

    output = module(*(torch.zeros(2, *shape) for shape in shapes))

    assert output.shape == (2, *out_shape(layer))
    state = {name: TensorSpec.of(tensor) for name, tensor in module.state_dict().items()}
    assert list(state.items()) == list(layer.tensors)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(dense((5,), 7), (5,)), (dense((3, 5), 7), (3, 5)), (conv1d((2, 20), 4, 5, 2), (2, 20))],
)
def test_flops_are_those_that_torch_counts(layer: Layer, shape: tuple[int, ...]) -> None:
    with FlopCounterMode(display=False) as counter:
        layer_module(layer)(torch.zeros(1, *shape))

    assert layer.flops == counter.get_total_flops()


def test_flops_of_additions_and_normalisation() -> None:
    assert add((6, 2), 3).flops == 2 * 12
    assert batch_norm((6, 2)).flops == 2 * 12
    assert dropout((6,), 0.1).flops == 0


def test_every_setting_makes_another_layer() -> None:
    layers = [
        dense((5,), 7),
        dense((5,), 8),
        dense((6,), 7),
        dense((3, 5), 7),
        dense((5,), 7, "relu"),
        *(activation((7,), name) for name in ACTIVATIONS),
        *(conv1d((2, 20), 4, 5, stride) for stride in (1, 2)),
        conv1d((2, 20), 4, 5, activation="relu"),
        max_pool1d((2, 20), 6),
        max_pool1d((2, 20), 7),
        max_pool1d((2, 21), 7),
        dropout((7,), 0.1),
        dropout((7,), 0.2),
        add((7,), 2),
        add((7,), 3),
        concat([(1,), (2,)]),
        concat([(2,), (1,)]),
        input_layer((7,)),
        identity((7,)),
    ]

    assert len({layer.digest for layer in layers}) == len(layers)


def test_two_names_of_one_activation_are_one_layer() -> None:
    assert dense((5,), 7, "swish") == dense((5,), 7, "silu")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: input_layer(()), "input_layer: an input of shape"),
        (lambda: dense((5,), 0), "units is 0, expected at least 1"),
        (lambda: dense((0,), 3), r"shape \(0,\), expected positive"),
        (lambda: dense((5,), 3, "rellu"), "no activation 'rellu'.*did you mean 'relu'"),
        (lambda: conv1d((1, 4), 2, 5), "kernel of 5 over a length of 4"),
        (lambda: conv1d((4,), 2, 1), r"expected \(channels, length\)"),
        (lambda: conv1d((1, 4), 2, 2, stride=0), "stride is 0"),
        (lambda: max_pool1d((1, 4), 5), "window of 5 over a length of 4"),
        (lambda: dropout((4,), 1.0), "rate of 1.0"),
        (lambda: add((4,), 0), "count is 0"),
        (lambda: concat([]), "expected at least one"),
        (lambda: concat([(2, 3), (3, 3)]), "all but the last dimension equal"),
        (lambda: batch_norm((1, 2, 3, 4)), "expected 1 to 3 dimensions"),
        (lambda: out_shape(Layer(BlockSpec.of("other"))), "other: no output shape"),
    ],
)
def test_bad_sizes_are_refused_in_one_line(make: Callable[[], object], message: str) -> None:
    with pytest.raises(GraphError, match=message) as error:
        make()
    assert "\n" not in str(error.value)
