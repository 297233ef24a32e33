"""Layers of the search spaces as plain data: kind, settings, tensors and cost, one function each.

Shapes are those of one item, without the batch. FLOPs are the multiplications and additions of a
forward pass over one item; comparisons, activation functions and dropout count nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import torch

from bench_core.errors import nearest
from bench_core.formats import TensorSpec
from bench_core.models.chains import BlockSpec, Setting
from bench_core.weight_transfer.errors import GraphError
from bench_core.weight_transfer.graphs import Layer

Shape = tuple[int, ...]

ACTIVATIONS: Final = ("linear", "relu", "tanh", "sigmoid", "softmax", "silu", "elu", "gelu")
_SYNONYMS: Final = {"swish": "silu", "identity": "linear"}


def input_layer(shape: Shape) -> Layer:
    """Return an input of the network: items of this shape.

    Raises:
        GraphError: a size is not positive.
    """
    return _layer("input", _checked("input_layer", shape))


def dense(shape: Shape, units: int, activation: str = "linear") -> Layer:
    """Return a fully connected layer over the last dimension: ``(..., n)`` to ``(..., units)``.

    Raises:
        GraphError: a size is not positive, or there is no such activation.
    """
    _positive("dense", units=units)
    *rows, width = _checked("dense", shape)
    return _layer(
        "dense",
        (*rows, units),
        # A multiply-add for each weight: the bias is where the sum starts.
        flops=2 * math.prod(rows) * width * units,
        tensors=_floats(weight=(units, width), bias=(units,)),
        inputs=width,
        units=units,
        activation=_activation(activation),
    )


def conv1d(
    shape: Shape, filters: int, kernel: int, stride: int = 1, activation: str = "linear"
) -> Layer:
    """Return a convolution without padding: ``(channels, length)`` to ``(filters, shorter)``.

    Raises:
        GraphError: a size is not positive, the kernel is longer than the input, or there is no
            such activation.
    """
    _positive("conv1d", filters=filters, kernel=kernel, stride=stride)
    channels, length = _signal("conv1d", shape)
    if kernel > length:
        raise GraphError(
            f"conv1d: a kernel of {kernel} over a length of {length}, expected no more"
        )
    outputs = (length - kernel) // stride + 1
    return _layer(
        "conv1d",
        (filters, outputs),
        flops=2 * channels * kernel * filters * outputs,
        tensors=_floats(weight=(filters, channels, kernel), bias=(filters,)),
        shape=shape,
        filters=filters,
        kernel=kernel,
        stride=stride,
        activation=_activation(activation),
    )


def max_pool1d(shape: Shape, size: int) -> Layer:
    """Return the maximum over windows of ``size`` side by side; what is left over is dropped.

    Raises:
        GraphError: a size is not positive, or the window is longer than the input.
    """
    _positive("max_pool1d", size=size)
    channels, length = _signal("max_pool1d", shape)
    if size > length:
        raise GraphError(
            f"max_pool1d: a window of {size} over a length of {length}, expected no more"
        )
    return _layer("max_pool1d", (channels, length // size), shape=shape, size=size)


def flatten(shape: Shape) -> Layer:
    """Return a layer that makes a vector of its input.

    Raises:
        GraphError: a size is not positive.
    """
    return _layer("flatten", (math.prod(_checked("flatten", shape)),), shape=shape)


def dropout(shape: Shape, rate: float) -> Layer:
    """Return a layer that zeroes each value with probability ``rate`` in training.

    Raises:
        GraphError: the rate is not in [0, 1), or a size is not positive.
    """
    if not 0 <= rate < 1:
        raise GraphError(f"dropout: a rate of {rate}, expected one from 0 to below 1")
    return _layer("dropout", _checked("dropout", shape), rate=float(rate))


def activation(shape: Shape, name: str) -> Layer:
    """Return a function of each value; softmax is over the last dimension.

    Raises:
        GraphError: there is no such activation, or a size is not positive.
    """
    return _layer("activation", _checked("activation", shape), activation=_activation(name))


def add(shape: Shape, count: int) -> Layer:
    """Return the sum of ``count`` inputs of equal shape.

    Raises:
        GraphError: the count or a size is not positive.
    """
    _positive("add", count=count)
    flops = (count - 1) * math.prod(_checked("add", shape))
    return _layer("add", shape, flops=flops, count=count)


def concat(shapes: Sequence[Shape]) -> Layer:
    """Return the inputs joined along the last dimension, in their order.

    Raises:
        GraphError: there are none, they differ in another dimension, or a size is not positive.
    """
    checked = [_checked("concat", shape) for shape in shapes]
    rows = {shape[:-1] for shape in checked}
    if len(rows) != 1:
        raise GraphError(
            f"concat: inputs of shapes {checked}, expected at least one and all but the last "
            "dimension equal"
        )
    widths = tuple(shape[-1] for shape in checked)
    return _layer("concat", (*rows.pop(), sum(widths)), widths=widths)


def batch_norm(shape: Shape) -> Layer:
    """Return batch normalisation, affine and with running statistics, over the first dimension.

    Of a vector that is each of its values; of ``(channels, ...)`` each channel.

    Raises:
        GraphError: a size is not positive, or there are more than three dimensions.
    """
    features = _checked("batch_norm", shape)[0]
    if len(shape) > 3:
        raise GraphError(f"batch_norm: an input of shape {shape}, expected 1 to 3 dimensions")
    names = ("weight", "bias", "running_mean", "running_var")
    count = ("num_batches_tracked", TensorSpec((), torch.int64))
    return _layer(
        "batch_norm",
        shape,
        flops=2 * math.prod(shape),
        tensors=(*_floats(**dict.fromkeys(names, (features,))), count),
    )


def identity(shape: Shape) -> Layer:
    """Return a layer that hands on what it gets.

    Raises:
        GraphError: a size is not positive.
    """
    return _layer("identity", _checked("identity", shape))


def out_shape(layer: Layer) -> Shape:
    """Return the shape of a layer's output for one item.

    Raises:
        GraphError: the layer's settings do not say it.
    """
    for name, value in layer.spec.settings:
        if name == "out" and isinstance(value, tuple):
            return value
    raise GraphError(
        f"{layer.spec.kind}: no output shape in its settings, expected a layer of this module"
    )


def _layer(
    kind: str,
    out: Shape,
    flops: int = 0,
    tensors: tuple[tuple[str, TensorSpec], ...] = (),
    **settings: Setting,
) -> Layer:
    return Layer(BlockSpec.of(f"layer.{kind}", out=tuple(out), **settings), tensors, flops)


def _floats(**shapes: Shape) -> tuple[tuple[str, TensorSpec], ...]:
    return tuple((name, TensorSpec(shape, torch.float32)) for name, shape in shapes.items())


def _checked(kind: str, shape: Shape) -> Shape:
    if not shape or min(shape) < 1:
        raise GraphError(f"{kind}: an input of shape {shape}, expected positive sizes")
    return tuple(shape)


def _signal(kind: str, shape: Shape) -> tuple[int, int]:
    if len(shape) != 2:
        raise GraphError(f"{kind}: an input of shape {shape}, expected (channels, length)")
    channels, length = _checked(kind, shape)
    return channels, length


def _positive(kind: str, **sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise GraphError(f"{kind}: {name} is {size}, expected at least 1")


def _activation(name: str) -> str:
    """Return the activation's one name: two for the same function would be different layers."""
    known = _SYNONYMS.get(name, name)
    if known not in ACTIVATIONS:
        raise GraphError(
            f"no activation {name!r}, expected one of {', '.join(ACTIVATIONS)}"
            f"{nearest(name, ACTIVATIONS)}"
        )
    return known
