"""What others' files describe, as our chains: a configuration, and a state dict cut into blocks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

import torch

from bench_core.errors import BenchCoreError, CorruptFileError, UnsupportedError
from bench_core.formats.atomic import one_line
from bench_core.models.chains import ChainSpec, Family, SplitState, chain, family, skeleton
from bench_core.snapshots.detectors import DETECTORS, backbone_settings, transformers_names
from bench_core.snapshots.tidying import completed, tidied, widened

MODEL_TYPES: Final = (
    "bert",
    "dinov2",
    "efficientnet",
    "mobilenet_v2",
    "resnet",
    "vit",
    *DETECTORS,
)
"""What ``config.json`` may name as ``model_type``."""


def architecture_of(content: Mapping[str, Any]) -> tuple[Family, Any, ChainSpec]:
    """Return the family, the configuration and the chain of what ``config.json`` describes.

    Raises:
        UnsupportedError: the model type or a setting is not supported.
        CorruptFileError: the configuration is damaged.
    """
    model_type = content["model_type"]
    if model_type not in MODEL_TYPES:
        raise UnsupportedError(
            f"model type {model_type!r} is not supported; expected one of {', '.join(MODEL_TYPES)}"
        )
    if content.get("quantization_config"):
        raise UnsupportedError("the model is quantised; import the one it was made of")
    is_detector = model_type in DETECTORS
    owner = family("resnet" if is_detector else model_type)
    settings = backbone_settings(content) if is_detector else content
    try:
        configuration = type(owner.configuration()).from_dict(dict(settings))
        spec = owner.chain(configuration, owner.name)
    except BenchCoreError:
        raise
    except Exception as error:  # the library's own checks raise all kinds
        raise CorruptFileError(
            f"the configuration is damaged, {type(error).__name__}: {one_line(error)}"
        ) from error
    return owner, configuration, _named(owner, spec)


def _named(owner: Family, spec: ChainSpec) -> ChainSpec:
    """Return the chain under the name that its architecture has here, if it has one."""
    for name in owner.configurations:
        if chain(name) == dataclasses.replace(spec, architecture=name):
            return chain(name)
    return spec


def split_state(
    owner: Family, configuration: Any, spec: ChainSpec, state: Mapping[str, torch.Tensor]
) -> SplitState:
    """Cut a state dict and bring its tensors into the chain's types.

    Args:
        owner: of the chain.
        configuration: of the library's model.
        spec: its chain.
        state: tensors by the names that the library, torchvision or timm give them, or by those
            of an export: ``<block>.<name in the block>``.

    Raises:
        TensorNotFoundError: a tensor of a block is missing.
        TensorMismatchError: a tensor has another shape than its block.
        UnsupportedError: a tensor is quantised, or of a type that float32 cannot hold.
    """
    state = completed(transformers_names(state) if owner.name == "resnet" else state)
    found = _exported(spec, state) or owner.split(configuration, state)
    head = found.head
    if head is not None:
        head = (widened("the head's weight", head[0]), widened("the head's bias", head[1]))
    return SplitState(tuple(tidied(spec, found.blocks)), head, found.unused)


def _exported(spec: ChainSpec, state: Mapping[str, torch.Tensor]) -> SplitState | None:
    """Return the blocks of a state dict that a store exported; None if it is another's."""
    names = [list(skeleton(block).state_dict()) for block in spec.blocks]
    expected = {f"{index}.{key}" for index, keys in enumerate(names) for key in keys}
    if expected != state.keys():
        return None
    blocks = ({key: state[f"{index}.{key}"] for key in keys} for index, keys in enumerate(names))
    return SplitState(tuple(blocks), None)
