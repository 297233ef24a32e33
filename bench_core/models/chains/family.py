"""What a family of architectures offers, and the families by name."""

from __future__ import annotations

import functools
import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import torch
from torch import nn

from bench_core.errors import UnknownNameError, nearest
from bench_core.models.chains.spec import BlockSpec, ChainSpec

_FAMILIES: Final = {
    "mlp": "bench_core.models.chains.mlp:Mlp",
    "resnet": "bench_core.models.chains.resnet:ResNet",
    "mobilenet_v2": "bench_core.models.chains.mobilenet_v2:MobileNetV2",
    "efficientnet": "bench_core.models.chains.efficientnet:EfficientNet",
    "vit": "bench_core.models.chains.vit:ViT",
    "dinov2": "bench_core.models.chains.dinov2:Dinov2",
    "bert": "bench_core.models.chains.bert:Bert",
}
"""Imported when one is asked for. The names are the ``model_type`` of transformers' configurations,
but for ``mlp``, which is ours."""


@dataclass(frozen=True)
class SplitState:
    """A state dict that was cut into the chain's blocks."""

    blocks: tuple[Mapping[str, torch.Tensor], ...]
    """For each block its tensors, by their names within the block."""
    head: tuple[torch.Tensor, torch.Tensor] | None
    """Weight ``(classes, feature_dim)`` and bias of the classifier, where the model has one."""
    unused: tuple[str, ...] = ()
    """Tensors that belong to neither: a decoder, a language model's head."""


class Family(ABC):
    """Architectures of one kind: their chains, their blocks, and the library's own model.

    A block's module must be free of buffers outside its state dict, must not work in place on its
    input, and must compute exactly what the library's own model computes there.
    """

    name: ClassVar[str]
    configurations: ClassVar[Mapping[str, Mapping[str, Any]]]
    """Architecture's name to the settings of its configuration."""

    @abstractmethod
    def configuration(self, **settings: Any) -> Any:
        """Return the configuration with these settings: transformers' own, where there is one."""

    @abstractmethod
    def chain(self, configuration: Any, architecture: str) -> ChainSpec:
        """Return the chain of a configuration.

        Raises:
            UnsupportedError: the configuration asks for something that no block here computes.
        """

    @abstractmethod
    def module(self, spec: BlockSpec) -> nn.Module:
        """Return the block's module, its parameters on torch's default device, uninitialised."""

    def vocabulary(self, spec: BlockSpec) -> int | None:
        """Return how many token ids a block looks up, from 0 on; None for one that takes none."""
        return None

    @abstractmethod
    def initialise(self, module: nn.Module) -> None:
        """Initialise a block's parameters as the library does, from torch's global generator."""

    @abstractmethod
    def split(self, configuration: Any, state: Mapping[str, torch.Tensor]) -> SplitState:
        """Cut the state dict of the library's model, with or without a head, into blocks.

        Raises:
            TensorNotFoundError: a tensor of a block is missing.
        """

    @abstractmethod
    def reference(self, configuration: Any) -> nn.Module:
        """Return the library's own feature extractor, on torch's default device."""

    @abstractmethod
    def reference_features(self, model: nn.Module, inputs: Any) -> torch.Tensor:
        """Return ``(batch, feature_dim)``: the library's own forward, and what is read off it."""


@functools.cache
def family(name: str) -> Family:
    """Return the family of this name.

    Raises:
        UnknownNameError: there is none; the message lists those there are.
    """
    if name not in _FAMILIES:
        raise UnknownNameError(
            f"unknown family of architectures {name!r}; expected one of {', '.join(_FAMILIES)}"
            f"{nearest(name, _FAMILIES)}"
        )
    module, _, cls = _FAMILIES[name].partition(":")
    found: Family = getattr(importlib.import_module(module), cls)()
    return found


def chain_names() -> list[str]:
    """Return the names of the architectures that can be had as chains."""
    return [name for known in _FAMILIES for name in family(known).configurations]


def chain(name: str) -> ChainSpec:
    """Return the chain of an architecture by its name.

    Raises:
        UnknownNameError: there is none; the message lists those there are.

    Example:
        >>> from bench_core.models import chain
        >>> len(chain("mlp_tiny").blocks)
        4
    """
    found = family_of(name)
    return found.chain(found.configuration(**found.configurations[name]), name)


def family_of(architecture: str) -> Family:
    """Return the family that knows an architecture by its name.

    Raises:
        UnknownNameError: none does.
    """
    for known in _FAMILIES:
        if architecture in family(known).configurations:
            return family(known)
    raise UnknownNameError(
        f"unknown architecture {architecture!r}; expected one of {', '.join(chain_names())}"
        f"{nearest(architecture, chain_names())}"
    )
