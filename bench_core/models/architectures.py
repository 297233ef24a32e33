"""The named architectures, and modules of any of them on any device."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import nn

from bench_core.errors import UnknownNameError, nearest
from bench_core.models.nt3 import Nt3
from bench_core.models.skip_initialisation import SkipInitialisation
from bench_core.models.synthetic import EXAMPLES, parse_synthetic

# Hugging Face's vision classifiers have two labels by default, the published models ImageNet's.
_IMAGENET: Final = {"num_labels": 1000}


def _classifier(name: str, config: str, model: str) -> Callable[[], nn.Module]:
    """Return a builder of the classifier with the settings that the architecture has as a chain."""

    def build() -> nn.Module:
        from bench_core.models.chains import family_of

        settings = family_of(name).configurations[name]
        return _transformers(config, model, **settings, **_IMAGENET)()

    return build


def _resnet(name: str) -> Callable[[], nn.Module]:
    return _classifier(name, "ResNetConfig", "ResNetForImageClassification")


def _vit(name: str) -> Callable[[], nn.Module]:
    return _classifier(name, "ViTConfig", "ViTForImageClassification")


def _transformers(config: str, model: str, **settings: Any) -> Callable[[], nn.Module]:
    """Return a builder of ``model(config(**settings))``; the library is imported when it runs."""

    def build() -> nn.Module:
        library = importlib.import_module("transformers")
        module: nn.Module = getattr(library, model)(getattr(library, config)(**settings))
        return module

    return build


_BUILDERS: Final[dict[str, Callable[[], nn.Module]]] = {
    "resnet18": _resnet("resnet18"),
    "resnet50": _resnet("resnet50"),
    "resnet152": _resnet("resnet152"),
    "vit_b_16": _vit("vit_b_16"),
    "vit_l_16": _vit("vit_l_16"),
    "bert_base": _transformers("BertConfig", "BertModel"),
    "gpt2": _transformers("GPT2Config", "GPT2Model"),
    "nt3": lambda: Nt3(dense=200),
    "nt3_small": lambda: Nt3(dense=16),
}

# Their tensors' names are the library's, and may change with its version.
_OWN: Final = frozenset({"nt3", "nt3_small"})


def names() -> list[str]:
    """Return the fixed names; `stack_<L>x<size>` and `tiny_<n>x<size>` exist beside them."""
    return list(_BUILDERS)


def is_from_transformers(name: str) -> bool:
    """Whether the tensors' names of the model come from the transformers library."""
    return name in _BUILDERS and name not in _OWN


def build_empty(name: str, device: str | torch.device) -> nn.Module:
    """Build the architecture on ``device`` without initialising its parameters.

    Buffers that no state dict holds (position ids) have their right values, except on ``meta``.

    Raises:
        UnknownNameError: there is no such model; the message lists those there are.
    """
    builder = _BUILDERS.get(name) or parse_synthetic(name)
    if builder is None:
        raise UnknownNameError(
            f"unknown model {name!r}; expected one of {', '.join([*_BUILDERS, *EXAMPLES])}"
            f"{nearest(name, [*_BUILDERS, *EXAMPLES])}"
        )
    with torch.device(device), SkipInitialisation():
        return builder().eval()
