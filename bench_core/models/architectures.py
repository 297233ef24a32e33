"""The named architectures, and modules of any of them on any device."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from bench_core.errors import UnknownNameError, nearest
from bench_core.models.nt3 import Nt3
from bench_core.models.synthetic import EXAMPLES, parse_synthetic

# Hugging Face's vision classifiers have two labels by default, the published models ImageNet's.
_IMAGENET: Final = {"num_labels": 1000}
_LARGE: Final = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
}


def _resnet(depths: list[int], layer_type: str, widths: list[int]) -> Callable[[], nn.Module]:
    settings = {"depths": depths, "layer_type": layer_type, "hidden_sizes": widths, **_IMAGENET}
    return _transformers("ResNetConfig", "ResNetForImageClassification", **settings)


def _transformers(config: str, model: str, **settings: Any) -> Callable[[], nn.Module]:
    """Return a builder of ``model(config(**settings))``; the library is imported when it runs."""

    def build() -> nn.Module:
        library = importlib.import_module("transformers")
        module: nn.Module = getattr(library, model)(getattr(library, config)(**settings))
        return module

    return build


_BOTTLENECK: Final = [256, 512, 1024, 2048]

_BUILDERS: Final[dict[str, Callable[[], nn.Module]]] = {
    "resnet18": _resnet([2, 2, 2, 2], "basic", [64, 128, 256, 512]),
    "resnet50": _resnet([3, 4, 6, 3], "bottleneck", _BOTTLENECK),
    "resnet152": _resnet([3, 8, 36, 3], "bottleneck", _BOTTLENECK),
    "vit_b_16": _transformers("ViTConfig", "ViTForImageClassification", **_IMAGENET),
    "vit_l_16": _transformers("ViTConfig", "ViTForImageClassification", **_LARGE, **_IMAGENET),
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
    with torch.device(device), _SkipInitialisation():
        return builder().eval()


class _SkipInitialisation(TorchFunctionMode):
    """Makes every function of `torch.nn.init` a no-op: the values are replaced anyway."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)
