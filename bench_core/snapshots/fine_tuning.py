"""Fine-tuning of whole models on a target: what a search's ranking is judged by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch

from bench_core.data.dataset import SearchData
from bench_core.errors import BenchCoreError
from bench_core.models.chains import ChainSpec
from bench_core.optional import require
from bench_core.snapshots.manifest import Snapshot
from bench_core.snapshots.store import SnapshotStore
from bench_core.snapshots.trainer import train
from bench_core.snapshots.training import Training

_DEFAULT: Final = Training()


class ScoresError(BenchCoreError, ValueError):
    """Scores that are to be compared are not of the same models."""


@dataclass(frozen=True)
class RankCorrelation:
    """How far two scores put the same models into the same order: -1 to 1."""

    spearman: float
    kendall: float
    """Tau-b, which allows for ties."""


def fine_tune(
    snapshot: Snapshot,
    store: SnapshotStore,
    data: SearchData,
    training: Training = _DEFAULT,
    *,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> float:
    """Train all blocks of a model and a new head on the data; return the accuracy on its test side.

    This is what a user does with the model that a search found. The stored model is not changed.

    Raises:
        TrainingError: the data do not fit the model, or the training diverged.
        CorruptFileError: a block of the model is missing or damaged.
    """
    spec = ChainSpec(
        architecture=snapshot.architecture,
        blocks=tuple(block.spec for block in snapshot.blocks),
        input=snapshot.input,
        feature_dim=snapshot.feature_dim,
        cuts=(len(snapshot.blocks), 0),
    )
    tensors = [store.read_block(block) for block in snapshot.blocks]
    return train(spec, tensors, 0, data, training, seed=seed, device=device).accuracy


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> RankCorrelation:
    """Return how far two scores of the same models agree in their order; NaN where one is constant.

    Raises:
        ScoresError: they are not of the same length.
        MissingExtraError: scipy is not installed.
    """
    statistics = require("scipy.stats", "search")
    if len(a) != len(b):
        raise ScoresError(f"{len(a)} scores against {len(b)}; expected one of each for every model")
    return RankCorrelation(
        spearman=float(statistics.spearmanr(a, b).statistic),
        kendall=float(statistics.kendalltau(a, b).statistic),
    )
