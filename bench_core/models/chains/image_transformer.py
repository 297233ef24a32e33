"""What vision transformers share: embeddings, equal layers, a norm over the class token."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from bench_core.errors import UnsupportedError
from bench_core.models.chains.cutting import Places, cut
from bench_core.models.chains.family import Family, SplitState
from bench_core.models.chains.spec import BlockSpec, ChainSpec, InputSpec
from bench_core.models.chains.transformer import block_configuration, block_spec, check_layers


class ClassToken(nn.Module):
    """The last norm, of the class token alone.

    A norm sees each token by itself, so the others need none: the same bits, less work.
    """

    def __init__(self, hidden_size: int, layer_norm_eps: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden_size, eps=layer_norm_eps)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return ``(batch, hidden_size)``."""
        features: torch.Tensor = self.norm(hidden[:, 0])
        return features


class ImageTransformer(Family):
    """Base of ViT and DINOv2; subclasses name the library's classes and the settings they need."""

    embedding_settings: ClassVar[tuple[str, ...]] = (
        "hidden_size",
        "image_size",
        "num_channels",
        "patch_size",
    )
    layer_settings: ClassVar[tuple[str, ...]]
    layer_place: ClassVar[str]
    """Where layer ``{}`` is in the library's model."""

    @abstractmethod
    def embeddings(self, configuration: Any) -> nn.Module:
        """Return the library's embeddings, without a mask token."""

    @abstractmethod
    def layer(self, configuration: Any) -> nn.Module:
        """Return one of the library's layers."""

    def check(self, configuration: Any, architecture: str) -> None:
        """Refuse what the blocks do not compute.

        Raises:
            UnsupportedError: images or patches that are not square, images smaller than a patch,
                layers that the library cannot build.
        """
        check_layers(configuration, architecture)
        for name in ("image_size", "patch_size"):
            if not isinstance(getattr(configuration, name), int):
                raise UnsupportedError(
                    f"{architecture}: {name} {getattr(configuration, name)!r}, only squares (one "
                    "whole number) are supported"
                )
        if configuration.image_size < configuration.patch_size:
            raise UnsupportedError(
                f"{architecture}: no patch of {configuration.patch_size} pixels in images of "
                f"{configuration.image_size}"
            )

    def input(self, configuration: Any) -> InputSpec:
        """Return what the embeddings take: images of the one size that has a position each."""
        size = configuration.image_size
        return InputSpec("image", (configuration.num_channels, size, size))

    def chain(self, configuration: Any, architecture: str) -> ChainSpec:
        """Return the chain; re-training the last layers re-trains the norm behind them, too.

        Raises:
            UnsupportedError: what `check` refuses.
        """
        self.check(configuration, architecture)
        n_layers = configuration.num_hidden_layers
        norm_settings = ("hidden_size", "layer_norm_eps")
        embeddings = block_spec(f"{self.name}.embeddings", configuration, self.embedding_settings)
        layer = block_spec(f"{self.name}.layer", configuration, self.layer_settings)
        norm = block_spec(f"{self.name}.class_token", configuration, norm_settings)
        return ChainSpec(
            architecture=architecture,
            blocks=(embeddings, *[layer] * n_layers, norm),
            input=self.input(configuration),
            feature_dim=configuration.hidden_size,
            cuts=(n_layers + 2, *range(n_layers, 0, -1)),
        )

    def module(self, spec: BlockSpec) -> nn.Module:
        """Return the library's own embeddings or layer, or the norm of the class token."""
        if spec.kind.endswith(".class_token"):
            return ClassToken(spec["hidden_size"], spec["layer_norm_eps"])
        configuration = block_configuration(self, spec)
        is_layer = spec.kind.endswith(".layer")
        return self.layer(configuration) if is_layer else self.embeddings(configuration)

    def initialise(self, module: nn.Module) -> None:
        """Initialise as the library does: normal values of deviation 0.02, norms of 1."""
        for layer in module.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                self.initialise_weight(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
            elif isinstance(layer, nn.LayerNorm):
                layer.reset_parameters()
        for name, parameter in module.named_parameters(recurse=False):
            if name in ("cls_token", "position_embeddings"):
                nn.init.trunc_normal_(parameter, std=0.02)

    def initialise_weight(self, weight: torch.Tensor) -> None:
        """Initialise the weight of a linear layer or a convolution."""
        nn.init.normal_(weight, std=0.02)

    def split(self, configuration: Any, state: Mapping[str, torch.Tensor]) -> SplitState:
        """Cut the state dict of the library's model; names of older versions are known, too."""
        layers = range(configuration.num_hidden_layers)
        places: list[Places] = [{"": "embeddings."}]
        places += [{"": self.layer_place.format(index)} for index in layers]
        places.append({"norm.": "layernorm."})
        chain = self.chain(configuration, self.name)
        renamed = {self.renamed(name): tensor for name, tensor in state.items()}
        return cut(chain, places, renamed, prefix=f"{self.name}.", head="classifier")

    def renamed(self, name: str) -> str:
        """Return today's name of a tensor."""
        for old, new in self.old_names.items():
            name = re.sub(old, new, name)
        return name

    old_names: ClassVar[Mapping[str, str]] = {}
    """Patterns of names in checkpoints of older versions of the library, and today's."""

    def reference_features(self, model: nn.Module, inputs: Any) -> torch.Tensor:
        """Return the class token behind the last norm."""
        features: torch.Tensor = model(inputs).last_hidden_state[:, 0]
        return features
