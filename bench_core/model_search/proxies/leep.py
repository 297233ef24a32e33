"""LEEP: how well labels follow from what the model's own classifier says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bench_core.model_search.proxies.base import Features, Proxy, Score, Task
from bench_core.model_search.proxies.source_labels import label_given_source, source_logits


@dataclass(frozen=True)
class Leep(Proxy):
    """Log expected empirical prediction: mean log likelihood of the labels, at most 0.

    Nguyen, Hassner, Seeger and Archambeau, "LEEP: A new measure to evaluate transferability of
    learned representations", ICML 2020, section 3: a label is drawn given a source class, which is
    drawn by the source classifier's probabilities t(x). For n items x with labels y::

        P(y, z) = 1/n sum of t(x)_z over the items of label y,  P(y | z) = P(y, z) / P(z)
        LEEP = 1/n sum over the items of log sum over z of P(y | z) t(x)_z

    It uses the train items alone: nothing is held out.
    """

    name: ClassVar[str] = "leep"
    needs_source: ClassVar[bool] = True
    compares_classes: ClassVar[bool] = True

    def score_one(self, features: Features, task: Task, seed: int) -> Score:
        """Return the mean log likelihood of the train labels."""
        probabilities = source_logits(features).softmax(1)
        shares = label_given_source(task.train_labels, probabilities)
        return Score(float((shares * probabilities).sum(1).log().mean()), None, 1)
