"""Small models of transformers with random weights, saved as the library saves them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
import transformers
from torch import nn

from bench_core.models.chains import block_module, family_of, run_chain
from bench_core.snapshots import Snapshot, SnapshotStore

CLASSES: Final = {
    "resnet_tiny": "ResNetForImageClassification",
    "vit_tiny": "ViTForImageClassification",
    "bert_tiny": "BertForSequenceClassification",
    "dinov2_tiny": "Dinov2ForImageClassification",
}
"""Architectures and the library's classifiers."""

SMALL_RESNET: Final[Mapping[str, Any]] = {
    "depths": [1, 1, 1, 1],
    "hidden_sizes": [8, 16, 24, 32],
    "embedding_size": 8,
    "layer_type": "basic",
}

FIRST_RETRAINED: Final = {"bert_tiny": "encoder.layer.4.", "resnet_tiny": "encoder.stages.3."}
"""Where the fine-tuned variants of `variant_of` begin to differ."""


def quiet() -> None:
    """Keep the library from describing each model it saves."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def classifier(architecture: str, seed: int = 0, classes: int = 5) -> Any:
    """Return the library's classifier with random parameters."""
    quiet()
    owner = family_of(architecture)
    configuration = owner.configuration(**owner.configurations[architecture], num_labels=classes)
    torch.manual_seed(seed)
    model = getattr(transformers, CLASSES[architecture])(configuration).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
    return model


def save(model: Any, folder: Path, **settings: Any) -> Path:
    """Save a model as the library does."""
    quiet()
    model.save_pretrained(folder, **settings)
    return folder


def saved(folder: Path, architecture: str = "resnet_tiny", seed: int = 0) -> Path:
    """Save a random model."""
    return save(classifier(architecture, seed), folder)


def variant_of(model: Any, start: str, seed: int) -> Any:
    """Change all parameters from the first one on whose name in the trunk begins so."""
    torch.manual_seed(seed)
    has_begun = False
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            has_begun = has_begun or name.partition(".")[2].startswith(start)
            if has_begun:
                parameter.add_(torch.randn_like(parameter) * 0.01)
    return model


def inputs_of(architecture: str) -> Any:
    """Return a batch that the architecture takes."""
    generator = torch.Generator().manual_seed(3)
    if not architecture.startswith("bert"):
        return torch.randn(4, 3, 32, 32, generator=generator)
    mask = torch.ones(4, 20, dtype=torch.int64)
    mask[1:, 12:] = 0
    return torch.randint(0, 2000, (4, 20), generator=generator), mask


def library_features(architecture: str, model: Any) -> torch.Tensor:
    """Return what the library's own forward computes."""
    trunk = getattr(model, model.base_model_prefix)
    with torch.inference_mode():
        return family_of(architecture).reference_features(trunk, inputs_of(architecture))


def stored_features(store: SnapshotStore, snapshot: Snapshot, inputs: Any) -> torch.Tensor:
    """Return what the stored blocks compute."""
    blocks = [block_module(ref.spec, store.read_block(ref, True)) for ref in snapshot.blocks]
    with torch.inference_mode():
        return run_chain(blocks, inputs)
