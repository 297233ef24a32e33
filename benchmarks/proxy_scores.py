"""How long the proxy scores of a round take, by proxy, number of models, items and features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from benchmarks.support.named_params import NamedParams
from harness.errors import WrongResultError

if TYPE_CHECKING:
    from bench_core.model_search.proxies import Features, Task

PROXIES: Final = (
    "linear",
    "ridge",
    "logistic",
    "knn",
    "logme",
    "hscore",
    "leep",
    "nce",
    "transrate",
)
CLASSES: Final = 10
SOURCE_CLASSES: Final = 20
BATCH_SIZE: Final = 32
TRAIN_SHARE: Final = 0.8
CHECKED: Final = 2
"""Models, the first and the last, whose scores are computed again alone."""


class ProxyScores(NamedParams):
    """Inside the clock: one proxy's scores of all models of a round, from features in memory.

    Features are drawn around a centre for each class, farther apart from model to model, so that
    there is something to be found. Four fifths of the items are to learn from. What is checked:
    a model has the same score, bit for bit, alone and among the others. No bandwidth bounds this:
    there is no ideal time.
    """

    params = (PROXIES, (1, 8), (200,), (64,))
    param_names = ("proxy", "n_models", "items", "dim")
    quick = {"proxy": ("linear", "ridge", "logme"), "n_models": (8,)}
    open_params = ("proxy",)
    timeout = 600

    features: list[Features]
    task: Task

    def prepare(self, proxy: str, n_models: int, items: int, dim: int) -> None:
        from bench_core.model_search import proxies

        self.proxy = proxies.get(proxy)
        key = ("proxy features", n_models, items, dim, self.seed)
        self.task, self.features = self.cached(
            key, lambda: (_task(items), _features(n_models, items, dim, self.seed))
        )
        self.proxy.score(self.features[:1], self.task, self.seed)  # imports what it needs

    def time_score(self, proxy: str, n_models: int, items: int, dim: int) -> Any:
        return self.proxy.score(self.features, self.task, self.seed)

    def verify(self) -> None:
        ends = [0, len(self.features) - 1][:CHECKED]
        for model in ends:
            (alone,) = self.proxy.score([self.features[model]], self.task, self.seed)
            if alone != self.result[model]:
                raise WrongResultError(f"model {model} has another score alone: {alone}")
        self.note(
            scores=[score.value for score in self.result],
            proxy_steps=sum(score.steps for score in self.result),
        )


def _n_train(items: int) -> int:
    return round(items * TRAIN_SHARE)


def _labels(items: int) -> Any:
    import torch

    return torch.arange(items) % CLASSES


def _task(items: int) -> Task:
    from bench_core.model_search.proxies import Task

    labels, n_train = _labels(items), _n_train(items)
    return Task(
        labels[:n_train],
        labels[n_train:],
        CLASSES,
        _batches(n_train),
        _batches(items - n_train),
    )


def _batches(items: int) -> tuple[int, ...]:
    return tuple(min(BATCH_SIZE, items - start) for start in range(0, items, BATCH_SIZE))


def _features(n_models: int, items: int, dim: int, seed: int) -> list[Features]:
    """Return for each model features ``(items, dim)``, and logits of a classifier of the source."""
    import torch

    from bench_core.model_search.proxies import Features

    generator = torch.Generator().manual_seed(seed)
    labels, n_train = _labels(items), _n_train(items)
    made = []
    for model in range(n_models):
        apart = (model + 1) / n_models
        centres = apart * torch.randn(CLASSES, dim, generator=generator)
        found = centres[labels] + torch.randn(items, dim, generator=generator)
        source = found @ torch.randn(dim, SOURCE_CLASSES, generator=generator) / dim**0.5
        made.append(Features(found[:n_train], found[n_train:], source[:n_train], source[n_train:]))
    return made
