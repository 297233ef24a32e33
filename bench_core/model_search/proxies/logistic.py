"""Logistic regression by scikit-learn's solver as a proxy: a linear head at its optimum."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from bench_core.model_search.proxies.base import (
    Features,
    Proxy,
    Score,
    Task,
    positive,
    positive_whole,
)
from bench_core.model_search.proxies.scaling import standardised
from bench_core.optional import require


@dataclass(frozen=True)
class Logistic(Proxy):
    """Top-1 accuracy on the test items of penalised multinomial logistic regression (L-BFGS).

    The fit on frozen features that papers on transfer learning report as linear evaluation
    (Kornblith, Shlens and Le, "Do better ImageNet models transfer better?", CVPR 2019). Its loss is
    the mean log loss on the test items.
    """

    name: ClassVar[str] = "logistic"
    inverse_penalty: float = 1.0
    """scikit-learn's ``C``."""
    max_iterations: int = 1000
    standardise: bool = True
    """Bring features to mean 0 and deviation 1 first: the solver then needs far fewer steps."""

    def __post_init__(self) -> None:
        positive("inverse_penalty", self.inverse_penalty)
        positive_whole("max_iterations", self.max_iterations)

    def score(self, features: Sequence[Features], task: Task, seed: int) -> list[Score]:
        """Score all models of a round, numpy's BLAS on one thread as well."""
        with require("threadpoolctl", "search").threadpool_limits(1):
            return super().score(features, task, seed)

    def score_one(self, features: Features, task: Task, seed: int) -> Score:
        """Fit the train features and test."""
        train, test = features.train.double(), features.test.double()
        if self.standardise:
            train, test = standardised(train, test)
        exceptions = require("sklearn.exceptions", "search")
        model = require("sklearn.linear_model", "search").LogisticRegression(
            C=self.inverse_penalty, max_iter=self.max_iterations
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
            # A first round may well have two items a class.
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
            model.fit(train.numpy(), task.train_labels.numpy())
        steps = int(model.n_iter_.max())
        known = torch.from_numpy(model.predict_proba(test.numpy()))
        # A class that the train items lack has no column: its probability is 0.
        likely = torch.zeros(len(test), task.n_classes, dtype=torch.float64)
        likely[:, torch.from_numpy(model.classes_)] = known
        of_label = likely[torch.arange(len(test)), task.test_labels]
        loss = -float(of_label.clamp_min(torch.finfo(torch.float64).tiny).log().mean())
        value = int((likely.argmax(1) == task.test_labels).sum()) / len(test)
        note = "" if steps < self.max_iterations else "the solver did not converge"
        return Score(value, loss, steps, note)
