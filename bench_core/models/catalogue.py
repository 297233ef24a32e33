"""Models by name: their shapes, their seeded tensors, and modules that hold them."""

from __future__ import annotations

import functools

import torch
from torch import nn

from bench_core.models.architectures import build_empty
from bench_core.models.random_fill import TensorShape, random_tensors


def specs(name: str) -> dict[str, TensorShape]:
    """Return shape and dtype of every tensor of the model's state dict, in its order.

    Nothing is allocated. The transformers library, where the model comes from it, is imported by
    the first call (seconds); later calls are answered from memory.

    Raises:
        UnknownNameError: there is no such model.
    """
    return dict(_specs(name))


@functools.cache
def _specs(name: str) -> dict[str, TensorShape]:
    state = build_empty(name, "meta").state_dict()
    return {key: TensorShape(tuple(value.shape), value.dtype) for key, value in state.items()}


def tensors(name: str, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return the model's state dict on the CPU, filled by `random_tensors`.

    Raises:
        UnknownNameError: there is no such model.
    """
    return random_tensors(_specs(name), seed)


def build(name: str, device: str | torch.device = "meta", seed: int = 0) -> nn.Module:
    """Return the model as a module in evaluation mode.

    On ``meta`` it has shapes only and is built in milliseconds; on another device its state
    dict equals ``tensors(name, seed)``.

    Raises:
        UnknownNameError: there is no such model.
    """
    if torch.device(device).type == "meta":
        return build_empty(name, "meta")
    module = build_empty(name, "cpu")
    module.load_state_dict(tensors(name, seed), assign=True)
    return module.to(device)
