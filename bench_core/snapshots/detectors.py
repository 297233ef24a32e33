"""The ResNet inside a detection model: DETR (Carion et al., ECCV 2020) and its descendants."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch

from bench_core.errors import TensorNotFoundError, UnsupportedError
from bench_core.models.chains import family

DETECTORS: Final = ("conditional_detr", "deformable_detr", "detr", "table-transformer")
"""Model types of transformers whose features come from a ResNet."""

_DILATED: Final = 16
"""Output stride of a ResNet whose last stage is dilated instead of halving its input; 32 else."""

_STEMS: Final = ("embedder.embedder.convolution.weight", "conv1.weight")
"""First tensor of a ResNet, in transformers' names and in torchvision's."""

_NAMES: Final[Mapping[str, str | Callable[[re.Match[str]], str]]] = {
    r"^conv1\.": "embedder.embedder.convolution.",
    r"^bn1\.": "embedder.embedder.normalization.",
    r"^layer(\d)\.": lambda match: f"encoder.stages.{int(match.group(1)) - 1}.layers.",
    r"(layers\.\d+\.)conv(\d)\.": lambda match: (
        f"{match.group(1)}layer.{int(match.group(2)) - 1}.convolution."
    ),
    r"(layers\.\d+\.)bn(\d)\.": lambda match: (
        f"{match.group(1)}layer.{int(match.group(2)) - 1}.normalization."
    ),
    r"\.downsample\.0\.": ".shortcut.convolution.",
    r"\.downsample\.1\.": ".shortcut.normalization.",
    r"^fc\.": "classifier.1.",
}
"""Names in torchvision's and timm's ResNets as patterns, and transformers' names."""


def backbone_settings(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the ResNet in a detection model, also of one that is dilated (DC5).

    Args:
        content: of the model's ``config.json``.

    Raises:
        UnsupportedError: its backbone is another one, or is not computed as a ResNet is.
    """
    inner = content.get("backbone_config") or {}
    if inner.get("model_type") == "resnet":
        return dict(inner)  # which the library never dilates, whatever ``dilation`` says
    output_stride = inner.get("output_stride") or (_DILATED if content.get("dilation") else None)
    if output_stride not in (None, _DILATED):
        raise UnsupportedError(
            f"the backbone has an output stride of {output_stride}, only plain ResNets and those "
            f"of {_DILATED} are supported"
        )
    name = str(inner.get("backbone") or content.get("backbone") or "").partition(".")[0]
    found = family("resnet").configurations.get(name)
    if found is None:
        raise UnsupportedError(f"the backbone is {name or 'not named'!r}, expected a ResNet")
    channels = inner.get("num_channels") or content.get("num_channels") or 3
    settings = {**found, "num_channels": channels}
    return {**settings, "dilates_last_stage": True} if output_stride else settings


def backbone_state(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors of the ResNet in a detection model, by transformers' names for them.

    Raises:
        TensorNotFoundError: no ResNet is among them.
    """
    for stem in _STEMS:
        starts = [
            name.removesuffix(stem) for name in state if name.endswith(stem) and "backbone" in name
        ]
        if starts:
            start = starts[0]
            inside = {name[len(start) :]: state[name] for name in state if name.startswith(start)}
            return transformers_names(inside)
    raise TensorNotFoundError(f"no backbone among {len(state)} tensors; expected a ResNet's")


def transformers_names(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a ResNet's tensors by transformers' names, if they have torchvision's or timm's.

    Other names stay as they are.
    """
    if "conv1.weight" not in state:
        return dict(state)
    return {_renamed(name): tensor for name, tensor in state.items()}


def _renamed(name: str) -> str:
    for pattern, replacement in _NAMES.items():
        name = re.sub(pattern, replacement, name)
    return name
