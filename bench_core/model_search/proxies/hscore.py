"""H-score: how much of the features' spread lies between the classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from bench_core.model_search.proxies.base import Features, Proxy, Score, Task
from bench_core.model_search.proxies.spectrum import Spectrum, centred, indicators


@dataclass(frozen=True)
class HScore(Proxy):
    """Trace of the class means' covariance in units of the features' covariance.

    Bao et al., "An information-theoretic approach to transferability in task transfer learning",
    ICIP 2019, definition of the H-score of features f and labels y::

        H = tr(cov(f)^-1 cov(E[f | y]))

    Ibrahim, Ponomareva and Mazumder, "Newer is not always better: Rethinking transferability
    metrics, their peculiarities, stability and performance", ECML PKDD 2022, shrink both
    covariances by the weight w of Ledoit and Wolf (2004), because the plain score says nothing with
    fewer items than features::

        H = tr(((1 - w) cov(f) + w tr(cov(f)) / dim)^-1 (1 - w) cov(E[f | y]))

    Covariances are divided by n. Plain, it is at most the number of classes less one and the same
    for every invertible linear map of the features. It uses the train items alone: nothing is held
    out.
    """

    name: ClassVar[str] = "hscore"
    compares_classes: ClassVar[bool] = True
    shrink: bool = True
    """Without it the plain score, by the pseudoinverse of the covariance."""

    def score_one(self, features: Features, task: Task, seed: int) -> Score:
        """Compare the classes of the train items."""
        items = centred(features.train)
        n, dim = items.shape
        spectrum = Spectrum.of(items)
        if not spectrum.rank:
            return Score.none("the features of all items are the same")
        variances = spectrum.squares / n
        weight = shrinkage(items, variances) if self.shrink else 0.0
        shrunk = (1 - weight) * variances + weight * variances.sum() / dim
        classes = indicators(task.train_labels)
        counts = classes.sum(0)
        # The left vectors have length 1: times the singular values they are the items' places.
        between = spectrum.squares * (spectrum.along(classes).square() / counts).sum(1) / n
        return Score(float((1 - weight) * (between / shrunk).sum()), None, 1)


def shrinkage(items: Tensor, variances: Tensor) -> float:
    """Return how far the covariance is to be drawn to a multiple of the identity, from 0 to 1.

    Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices",
    Journal of Multivariate Analysis 2004.

    Args:
        items: ``(n, dim)`` float64, centred.
        variances: ``(rank,)`` eigenvalues of their covariance.
    """
    n, dim = items.shape
    squared_norm = float(variances.square().sum())
    distance = squared_norm - float(variances.sum()) ** 2 / dim
    noise = float(items.square().sum(1).square().sum()) / n**2 - squared_norm / n
    # A covariance that is a multiple of the identity, but for rounding, stays as it is.
    return min(noise / distance, 1.0) if distance > 1e-12 * squared_norm else 0.0
