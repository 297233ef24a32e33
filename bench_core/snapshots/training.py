"""How models are trained, what a training gives, and which data it refuses."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Final, Literal

import torch

from bench_core.data.dataset import SearchData
from bench_core.errors import BenchCoreError
from bench_core.models.chains import ChainSpec, InputSpec

Optimizer = Literal["adam", "sgd"]

_LATER: Final = ("optimizer", "momentum", "decay_every", "decay")
"""Settings that older plans do not name; at their defaults, plans leave them out still, so that
models that were trained before are found again."""


class TrainingError(BenchCoreError, ValueError):
    """A model cannot be trained on these data, or with these settings."""


@dataclass(frozen=True)
class Training:
    """How models are trained; the defaults are those of Alsatian (section 5.1)."""

    epochs: int = 20
    learning_rate: float = 1e-3
    """Of the first epoch."""
    batch_size: int = 128
    checkpoint_every: int = 4
    """Epochs between states that are saved, where a training is to be resumable."""
    keep_bytes: int = 1 << 30
    """How much of what the frozen blocks give is kept between epochs; more is computed anew. The
    last bits of a result depend on it, as those of a batch depend on what is in it."""
    optimizer: Optimizer = "adam"
    momentum: float = 0.0
    """Of SGD; Adam has its own."""
    decay_every: int = 0
    """Epochs after which the learning rate is multiplied by ``decay``, each time; 0: never."""
    decay: float = 0.1

    def plan(self) -> dict[str, Any]:
        """Return what decides the result of a training."""
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name != "checkpoint_every"
            and not (field.name in _LATER and getattr(self, field.name) == field.default)
        }

    def rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0."""
        steps = epoch // self.decay_every if self.decay_every else 0
        return self.learning_rate * self.decay**steps


@dataclass(frozen=True)
class Trained:
    """What a training gives."""

    blocks: tuple[dict[str, torch.Tensor], ...]
    """Tensors of the trained blocks, from the first of them on; on the CPU."""
    frozen: dict[int, dict[str, torch.Tensor]]
    """Tensors of the other blocks by their position, as they are after the training."""
    head: tuple[torch.Tensor, torch.Tensor]
    """Weight ``(classes, feature_dim)`` and bias."""
    accuracy: float
    """On the test items, 0 to 1."""
    losses: tuple[float, ...]
    """Mean cross entropy of each epoch's training items."""
    epoch_seconds: tuple[float, ...]
    """Of each epoch, those before an interruption included."""

    @property
    def seconds(self) -> float:
        """Of all epochs."""
        return sum(self.epoch_seconds)


def check_data(chain: ChainSpec, data: SearchData) -> None:
    """See that the chain can be trained on these data.

    Raises:
        TrainingError: they are of another form, empty, or of different classes on their two sides.
    """
    for side in (data.train, data.test):
        given = InputSpec(side.kind, side.shape)
        if not chain.input.accepts(given):
            raise TrainingError(
                f"{chain.architecture} takes {_described(chain.input)}, the data set {side.name} "
                f"has {_described(given)}; choose other data, or their size"
            )
        if not len(side):
            raise TrainingError(f"the data set {side.name} is empty; there must be items to train")
    if data.train.classes != data.test.classes:
        raise TrainingError(
            f"the classes to train on, {', '.join(data.train.classes)}, are not those of the test "
            f"items, {', '.join(data.test.classes)}; take both from one data set"
        )


def _described(spec: InputSpec) -> str:
    return f"{spec.kind} of {spec.shape}"


def check_loss(loss: float, epoch: int, training: Training) -> None:
    """See that the training has not diverged.

    Raises:
        TrainingError: it has.
    """
    if not math.isfinite(loss):
        raise TrainingError(
            f"the training diverged: a loss of {loss} in epoch {epoch}; choose a learning rate "
            f"below {training.learning_rate:g}"
        )
