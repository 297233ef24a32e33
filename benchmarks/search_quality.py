"""Whether a search finds a good model: its ranking beside that of fine-tuning every candidate."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from harness.benchmark import Benchmark, data_dir
from harness.errors import WrongResultError

if TYPE_CHECKING:
    from bench_core.data import SearchData
    from bench_core.snapshots import SnapshotStore

PROXIES = ("linear", "ridge", "logistic", "knn", "logme", "hscore", "transrate")
N_TARGET_ITEMS = 160
FINE_TUNING_EPOCHS = 4
BEST = 3


class Candidates(NamedTuple):
    """A trained set, its target, and how good each model is there after fine-tuning."""

    store: SnapshotStore
    names: list[str]
    target: SearchData
    accuracies: Mapping[str, float]


class Quality(Benchmark):
    """The place of the search's winner among all candidates after fine-tuning: 1 is the best.

    The candidates are really trained, on views of the embedded data: some of the classes, rotated,
    inverted, noisy. The target is the data themselves, with few items, as in transfer learning.
    Every candidate is fine-tuned as a whole on the target, before the sample. Not a time.
    """

    params = (PROXIES, ("mlp_tiny", "resnet_tiny"), (4, 12), (2, 20))
    param_names = ("proxy", "architecture", "n_models", "epochs")
    open_params = ("architecture", "proxy")
    unit = "place"
    timeout = 900

    candidates: Candidates

    def prepare(self, proxy: str, architecture: str, n_models: int, epochs: int) -> None:
        self.proxy = proxy
        self.candidates = self.cached(
            ("fine-tuned", architecture, n_models, epochs, self.seed),
            lambda: fine_tuned(architecture, n_models, epochs, self.seed),
        )

    def track_winner(self, proxy: str, architecture: str, n_models: int, epochs: int) -> float:
        from bench_core.model_search import search

        store, names, target, accuracies = self.candidates
        # All models are scored by all items, so that every score can be compared.
        found = search(store, target, names=names, proxy=proxy, halve=False, seed=self.seed)
        halved = search(store, target, names=names, proxy=proxy, seed=self.seed)
        self.scores = {item.name: item.score or 0.0 for item in found.ranking}
        self.winner = halved.best
        return float(1 + sum(value > accuracies[halved.best] for value in accuracies.values()))

    def verify(self) -> None:
        from bench_core.snapshots import rank_correlation

        _, names, _, accuracies = self.candidates
        if self.winner not in names:
            raise WrongResultError(f"{self.winner} won, which is none of the candidates")
        found = rank_correlation([self.scores[n] for n in names], [accuracies[n] for n in names])
        best = max(accuracies.values())
        self.note(
            spearman=found.spearman,
            kendall=found.kendall,
            winner=self.winner,
            winner_accuracy=accuracies[self.winner],
            best_accuracy=best,
            mean_accuracy=sum(accuracies.values()) / len(accuracies),
            among_best=float(self.result <= BEST),
        )


def fine_tuned(architecture: str, n_models: int, epochs: int, seed: int) -> Candidates:
    """Train a set, or find it trained, and fine-tune every model of it on the target."""
    from bench_core import data
    from bench_core.models import chain
    from bench_core.snapshots import (
        SnapshotStore,
        Training,
        embedded_sources,
        fine_tune,
        trained_set,
    )

    store = SnapshotStore(quality_folder() / f"{architecture}-{n_models}-{epochs}-{seed}")
    kind = chain(architecture).input
    sources = embedded_sources(kind, seed)
    training = Training(epochs=epochs, batch_size=64)
    trained = trained_set(store, architecture, n_models, sources, training, seed=seed)
    names = {"image": "digits", "tokens": "docstrings", "vector": "digit_vectors"}
    target = data.load(names[kind.kind], num_train_items=N_TARGET_ITEMS, seed=seed)
    tuning = Training(epochs=FINE_TUNING_EPOCHS, batch_size=32)
    accuracies = {
        snapshot.name: fine_tune(snapshot, store, target, tuning, seed=seed) for snapshot in trained
    }
    return Candidates(store, [snapshot.name for snapshot in trained], target, accuracies)


def quality_folder() -> Path:
    """Return the folder of the trained sets, which are kept."""
    return data_dir() / "trained_sets"
