"""The torch modules that compute what layers describe, and their seeded first values."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch import nn
from torch.nn import functional

from bench_core.models.chains import BlockSpec
from bench_core.weight_transfer.errors import GraphError
from bench_core.weight_transfer.graphs import Layer, Name

_FUNCTIONS: Final[Mapping[str, Callable[[torch.Tensor], torch.Tensor]]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softmax": functools.partial(torch.softmax, dim=-1),
    "silu": functional.silu,
    "elu": functional.elu,
    "gelu": functional.gelu,
}


class Activation(nn.Module):
    """A function of each value, by name; ``linear`` hands on what it gets."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the function's values, in the shape of ``x``."""
        return activated(x, self.name)


class Dense(nn.Linear):
    """A fully connected layer with its activation."""

    def __init__(self, inputs: int, units: int, activation: str, device: str) -> None:
        super().__init__(inputs, units, device=device)
        self.activation = activation

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return ``(..., units)`` for ``(..., inputs)``."""
        return activated(super().forward(input), self.activation)


class Convolution(nn.Conv1d):
    """A convolution over a signal with its activation."""

    def __init__(self, spec: BlockSpec, device: str) -> None:
        channels = spec["shape"][0]
        super().__init__(
            channels, spec["filters"], spec["kernel"], stride=spec["stride"], device=device
        )
        self.activation = spec["activation"]

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return ``(batch, filters, shorter)`` for ``(batch, channels, length)``."""
        return activated(super().forward(input), self.activation)


class Sum(nn.Module):
    """The sum of the inputs, from the first to the last."""

    def forward(self, first: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        """Return the sum."""
        for other in others:
            first = first + other
        return first


class Concatenation(nn.Module):
    """The inputs joined along the last dimension."""

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Return ``(..., sum of the widths)``."""
        return torch.cat(inputs, dim=-1)


def activated(x: torch.Tensor, name: str) -> torch.Tensor:
    """Return what the activation of this name makes of ``x``."""
    return x if name == "linear" else _FUNCTIONS[name](x)


def _batch_norm(spec: BlockSpec, device: str) -> nn.Module:
    shape = spec["out"]
    kind: type[Any] = nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d
    module: nn.Module = kind(shape[0], device=device)
    return module


_BUILDERS: Final[Mapping[str, Callable[[BlockSpec, str], nn.Module]]] = {
    "layer.input": lambda spec, device: nn.Identity(),
    "layer.identity": lambda spec, device: nn.Identity(),
    "layer.dense": lambda spec, device: Dense(
        spec["inputs"], spec["units"], spec["activation"], device
    ),
    "layer.conv1d": Convolution,
    "layer.max_pool1d": lambda spec, device: nn.MaxPool1d(spec["size"]),
    "layer.flatten": lambda spec, device: nn.Flatten(),
    "layer.dropout": lambda spec, device: nn.Dropout(spec["rate"]),
    "layer.activation": lambda spec, device: Activation(spec["activation"]),
    "layer.add": lambda spec, device: Sum(),
    "layer.concat": lambda spec, device: Concatenation(),
    "layer.batch_norm": _batch_norm,
}


def layer_module(layer: Layer, device: str = "cpu") -> nn.Module:
    """Return the module of a layer, which has its tensors under their names.

    Raises:
        GraphError: the layer is of a kind that `bench_core.weight_transfer.layers` has not.
    """
    kind = layer.spec.kind
    if kind not in _BUILDERS:
        raise GraphError(f"no module for a layer {kind}, expected one of {', '.join(_BUILDERS)}")
    return _BUILDERS[kind](layer.spec, device)


@torch.no_grad()
def initialise(module: nn.Module, name: Name, seed: int) -> None:
    """Fill a layer's tensors with first values that depend on the seed and its name only.

    The distributions are torch's own: weight and bias of dense layers and convolutions uniform
    within 1 / sqrt(fan-in), batch normalisation the identity. The same bits on every device;
    torch's global generator is neither read nor moved.
    """
    if isinstance(module, Dense | Convolution):
        fan_in = math.prod(module.weight.shape[1:])
        generator = torch.Generator().manual_seed(_layer_seed(name, seed))
        for parameter in module.parameters():
            bound = 1 / math.sqrt(fan_in)
            _fill_uniform(parameter, bound, generator)
    elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        module.reset_parameters()


def _fill_uniform(tensor: torch.Tensor, bound: float, generator: torch.Generator) -> None:
    if tensor.device.type == "cpu":
        tensor.uniform_(-bound, bound, generator=generator)
    else:
        values = torch.empty(tensor.shape, dtype=tensor.dtype)
        tensor.copy_(values.uniform_(-bound, bound, generator=generator))


def _layer_seed(name: Name, seed: int) -> int:
    digest = hashlib.blake2b(name, digest_size=8, key=str(seed).encode()).digest()
    return int.from_bytes(digest, "little") >> 1
