"""What a proxy score is: how well a frozen model's features suit a labelled data set."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bench_core.model_search.errors import SearchError
from bench_core.torch_threads import torch_threads


class ProxyError(SearchError):
    """Labels, features or settings that no proxy score can be computed from."""


@dataclass(frozen=True)
class Task:
    """The labels of a round, the same for all models.

    Raises:
        ProxyError: labels that are missing, out of range, not int64 or of one class, or batches
            that do not add up to the items.
    """

    train_labels: Tensor
    """``(n_train,)`` int64, from 0 to ``n_classes - 1``."""
    test_labels: Tensor
    """``(n_test,)`` int64."""
    n_classes: int
    train_batches: tuple[int, ...]
    """Sizes of the batches of the train items, in order: the linear head steps through them."""
    test_batches: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_labels("training", self.train_labels, self.train_batches, self.n_classes)
        _check_labels("test", self.test_labels, self.test_batches, self.n_classes)
        found = occurring(self.train_labels)
        if len(found) < 2:
            raise ProxyError(
                f"all {len(self.train_labels)} training labels are of class {int(found[0])}; at "
                "least two classes are needed: mix the items' order, or give a round more of them"
            )


@dataclass(frozen=True)
class Features:
    """What one model makes of the items."""

    train: Tensor
    """``(n_train, dim)`` float32 on the CPU."""
    test: Tensor
    """``(n_test, dim)``."""
    train_source: Tensor | None = None
    """``(n_train, source_classes)``: logits of the classifier that the model came with."""
    test_source: Tensor | None = None

    @property
    def finite(self) -> bool:
        """Whether no number is NaN or infinite."""
        parts = (self.train, self.test, *self._sources)
        return all(bool(torch.isfinite(part).all()) for part in parts if part is not None)

    def laid_out(self) -> Features:
        """Return the same numbers in float32, row by row, from 64 bytes on.

        The BLAS chooses its way by strides and addresses, and the way decides the last bits.
        """
        sources = [part if part is None else _laid_out(part) for part in self._sources]
        return Features(_laid_out(self.train), _laid_out(self.test), *sources)

    @property
    def _sources(self) -> tuple[Tensor | None, Tensor | None]:
        return self.train_source, self.test_source


@dataclass(frozen=True)
class Score:
    """How well a model does by a proxy."""

    value: float
    """Higher is better; minus infinity where ``note`` says that there is none."""
    loss: float | None
    """Lower is better, where the proxy has one: tells apart models of the same value."""
    steps: int
    """Steps of an iterative fit; 1 for a closed form."""
    note: str = ""
    """Why the value is to be taken with care, or why there is none."""

    @classmethod
    def none(cls, note: str, steps: int = 0) -> Score:
        """Return the score of a model that cannot be scored: it comes last."""
        return cls(-math.inf, None, steps, note)


class Proxy(ABC):
    """A proxy score; a subclass is a frozen dataclass of its settings.

    A model's score is the same bits alone or among others, in any order: all that rounds in more
    than one way is computed for each model by itself, on one thread, by the same calls on memory
    that is laid out the same way. One thread also gives the same bits whatever number of threads
    the caller uses.
    """

    name: ClassVar[str]
    needs_source: ClassVar[bool] = False
    """Whether it asks for the logits of the classifiers that the models came with."""
    compares_classes: ClassVar[bool] = False
    """Whether it says nothing about fewer items than classes."""

    def score(self, features: Sequence[Features], task: Task, seed: int) -> list[Score]:
        """Score all models of a round.

        Args:
            features: of each model.
            task: the labels.
            seed: of what is drawn at random; a proxy without a random part ignores it.

        Returns:
            For each model its score; one whose features hold NaN or infinity has none.

        Raises:
            ProxyError: features that do not fit the labels, missing logits of the source, or fewer
                training items than classes for a score that compares classes.
        """
        self.check_task(task)
        for one in features:
            self._check(one, task)
        with torch_threads(1), torch.inference_mode():
            laid_out = [one.laid_out() for one in features]
            usable = [model for model, one in enumerate(laid_out) if one.finite]
            found = self.score_all([laid_out[model] for model in usable], task, seed)
        scores = [Score.none("the features hold NaN or infinity")] * len(features)
        for model, score in zip(usable, found, strict=True):
            scores[model] = score
        return scores

    def check_task(self, task: Task) -> None:
        """Refuse labels that say nothing to this score, whatever the features.

        Raises:
            ProxyError: fewer training items than classes for a score that compares classes.
        """
        n_train = len(task.train_labels)
        if self.compares_classes and n_train < task.n_classes:
            raise ProxyError(
                f"proxy {self.name!r} needs as many training items as classes, {task.n_classes}, "
                f"but a round has {n_train}; give more items, or take proxy 'linear'"
            )

    def score_all(self, features: Sequence[Features], task: Task, seed: int) -> list[Score]:
        """Score models whose features are finite, laid out and fit the labels: one by one.

        A proxy that gains by it does them together, and answers for the same bits.
        """
        return [self.score_one(one, task, seed) for one in features]

    @abstractmethod
    def score_one(self, features: Features, task: Task, seed: int) -> Score:
        """Score one model, whose features are finite and fit the labels."""

    def _check(self, features: Features, task: Task) -> None:
        parts = [("train", features.train, task.train_labels)]
        parts += [("test", features.test, task.test_labels)]
        if self.needs_source:
            if features.train_source is None:
                raise ProxyError(
                    f"proxy {self.name!r} needs the logits of the classifier that a model came "
                    "with, but there are none; take another proxy"
                )
            parts += [("source", features.train_source, task.train_labels)]
        for part, tensor, labels in parts:
            if tensor.dim() != 2 or len(tensor) != len(labels) or not tensor.shape[1]:
                raise ProxyError(
                    f"{part} features of shape {tuple(tensor.shape)}, but ({len(labels)}, dim) "
                    "was expected for as many labels"
                )
        if features.train.shape[1] != features.test.shape[1]:
            raise ProxyError(
                f"train features of {features.train.shape[1]} numbers an item, but test features "
                f"of {features.test.shape[1]}; they must come from the same model"
            )


def occurring(labels: Tensor) -> Tensor:
    """Return the labels that occur, each once, in order."""
    return labels.bincount().nonzero()[:, 0]


def top_1(outputs: Tensor, labels: Tensor) -> float:
    """Return which part of the items ``(n, classes)`` has its highest output at its label.

    The first of several highest outputs counts.
    """
    return int((outputs.argmax(1) == labels).sum()) / len(labels)


def positive(name: str, value: float) -> None:
    """Refuse a setting that is not a number above 0.

    Raises:
        ProxyError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ProxyError(f"{name} is {value!r}, but a number above 0 was expected")


def positive_whole(name: str, value: int) -> None:
    """Refuse a setting that is not a whole number above 0.

    Raises:
        ProxyError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ProxyError(f"{name} is {value!r}, but a whole number above 0 was expected")


def _laid_out(part: Tensor) -> Tensor:
    rows = part.float().contiguous()
    return rows if rows.data_ptr() % 64 == 0 else rows.clone()


def _check_labels(part: str, labels: Tensor, batches: tuple[int, ...], n_classes: int) -> None:
    if labels.dtype != torch.int64 or labels.dim() != 1 or not len(labels):
        raise ProxyError(
            f"{part} labels of shape {tuple(labels.shape)} and {labels.dtype}, but at least one "
            "label in a row of torch.int64 was expected"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= n_classes:
        raise ProxyError(
            f"{part} labels from {low} to {high}, but 0 to {n_classes - 1} was expected for "
            f"{n_classes} classes"
        )
    if sum(batches) != len(labels) or min(batches) < 1:
        raise ProxyError(
            f"{part} batches of {list(batches)} items do not add up to {len(labels)} labels"
        )
