"""Checkpoints in Hugging Face layout that transformers writes: a base and its variants."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, Final

SHARES: Final = (0.9, 0.75, 0.5, 0.0)
"""Of the parameters' tensors, the first ones that a variant has from its base, variant by variant.
Most fine-tuned models of the hub share nothing, the others all but some last layers."""
CLASSES: Final = 10


def write_checkpoints(folder: Path, architecture: str, n_models: int, seed: int) -> None:
    """Write a base with random parameters and its variants, a folder each, unless they are there.

    Args:
        folder: where they go, by number.
        architecture: of a family that the library has a classifier for.
        n_models: the base included.
        seed: of the parameters.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    for index in range(n_models):
        target = folder / f"{index:03d}"
        if not target.is_dir():
            _write(_model(architecture, index, seed), target)


def _write(model: Any, target: Path) -> None:
    """Save a model as the library does; it appears whole or not at all."""
    unfinished = target.with_name(f".{target.name}-{os.getpid()}")
    model.save_pretrained(unfinished)
    try:
        unfinished.rename(target)
    except OSError:  # another process was sooner
        shutil.rmtree(unfinished)


def _model(architecture: str, index: int, seed: int) -> Any:
    """Return the base (0), or a variant whose last tensors are another's."""
    import torch
    import transformers

    from bench_core.models.chains import family_of

    owner = family_of(architecture)
    configuration = owner.configuration(**owner.configurations[architecture], num_labels=CLASSES)
    is_text = architecture.startswith("bert")
    kind = "SequenceClassification" if is_text else "ImageClassification"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = getattr(transformers, f"AutoModelFor{kind}").from_config(configuration)
        if index:
            torch.manual_seed(seed * 10_000 + index)
            _fine_tune(model, SHARES[(index - 1) % len(SHARES)])
    return model


def _fine_tune(model: Any, share: float) -> None:
    """Move all parameters but the first ones a little, as a training would."""
    import torch

    parameters = list(model.parameters())
    with torch.no_grad():
        for parameter in parameters[int(share * len(parameters)) :]:
            parameter.add_(torch.randn_like(parameter) * 0.02)
