"""Trained sets of models: copies of a trained base, each with its last blocks trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from bench_core.models.chains import ChainSpec, chain, initialised
from bench_core.snapshots.checkpoint import Checkpoint
from bench_core.snapshots.draws import (
    Distribution,
    derived_seed,
    distribution_name,
    first_own_block,
    retrained_blocks,
)
from bench_core.snapshots.manifest import Snapshot
from bench_core.snapshots.reuse import Progress, check_base, stored_as_planned
from bench_core.snapshots.sources import Source
from bench_core.snapshots.store import SnapshotStore
from bench_core.snapshots.trainer import train
from bench_core.snapshots.training import Trained, Training, TrainingError

_DRAWS: Final = 200
"""Each model's number of trained blocks is one of so many draws, as published."""

_DEFAULT: Final = Training()


@dataclass(frozen=True)
class _Job:
    """One model to train."""

    name: str
    spec: ChainSpec
    base: Snapshot | None
    retrained: int
    source: Source
    training: Training
    seed: int

    @property
    def first(self) -> int:
        """The first block that is trained."""
        return first_own_block(self.spec.cuts, self.retrained) if self.base else 0

    @property
    def plan(self) -> dict[str, Any]:
        """What decides the result, as the manifest says it."""
        return {
            "kind": "trained",
            "base": self.base.name if self.base else None,
            "retrained": self.retrained,
            "source": self.source.name,
            "source_digest": self.source.data.train.digest,
            "seed": self.seed,
            "training": self.training.plan(),
        }


def trained_base(
    store: SnapshotStore,
    architecture: str,
    source: Source,
    training: Training = _DEFAULT,
    *,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> Snapshot:
    """Return a model that was trained as a whole, from initialised blocks, unless it is stored.

    Its name is ``<architecture>-base-<source>``. What is said of a training at `trained_set` holds.

    Raises:
        TrainingError: the data do not fit the architecture, or the training diverged.
        OtherSetError: the store has a model of this name that was made otherwise.
        SaveError: the store can't be written.
    """
    job = _Job(
        name=f"{architecture}-base-{source.name}",
        spec=chain(architecture),
        base=None,
        retrained=0,
        source=source,
        training=training,
        seed=seed,
    )
    return _stored_or_trained(store, job, device)


def trained_set(
    store: SnapshotStore,
    architecture: str,
    n_models: int,
    sources: Sequence[Source],
    training: Training = _DEFAULT,
    *,
    distribution: Distribution = "TWENTY_FIVE_PERCENT",
    seed: int = 0,
    base: Snapshot | None = None,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> list[Snapshot]:
    """Return really trained models that share their first blocks, trained unless they are stored.

    The first is the base. Each other one starts from the base; its last trainable blocks and a new
    linear head are trained on one of the sources, in turn, while the blocks before stay bit for
    bit those of the base, BatchNorm statistics included. How many blocks are trained is one of 200
    draws from the distribution (Alsatian, section 5.1). A model's origin says what it was trained
    on, how, the losses, and the accuracy on the source's test items.

    A model that is finished is in the store; the state of one that is not lies in the folder
    ``training`` of the store, and the same call goes on from there.

    Args:
        store: where the models are put.
        architecture: one of `bench_core.models.chains.chain_names`.
        n_models: the base included; one or more.
        sources: what to train on, such as `bench_core.snapshots.sources.sources_of` gives.
        training: how each model is trained.
        distribution: see `retrained_blocks`; numbers given are taken one for each model.
        seed: of heads, orders, draws.
        base: a stored model of this architecture; None trains one on the first source.
        device: where it is computed; models trained on different devices differ.
        progress: is told how many models there are.

    Raises:
        TrainingError: there is no source, one does not fit, or a training diverged.
        TensorMismatchError: the base is of another architecture.
        OtherSetError: the store has models of these names that were made otherwise.
        SaveError: the store can't be written.
    """
    if not sources:
        raise TrainingError("no source to train on; give at least one")
    spec = chain(architecture)
    if base is None:
        base = trained_base(store, architecture, sources[0], training, seed=seed, device=device)
    check_base(spec, base)
    drawn = _draws(distribution, len(spec.cuts), max(n_models - 1, 0), seed)
    models = [base]
    for index, retrained in enumerate(drawn, start=1):
        job = _Job(
            name=f"{architecture}-trained-{distribution_name(distribution).lower()}-{index:03d}",
            spec=spec,
            base=base,
            retrained=retrained,
            source=sources[(index - 1) % len(sources)],
            training=training,
            seed=derived_seed(seed, index),
        )
        models.append(_stored_or_trained(store, job, device))
        if progress:
            progress(len(models), n_models)
    return models


def _draws(distribution: Distribution, n_cuts: int, count: int, seed: int) -> list[int]:
    """Return the number of trained blocks for each derived model."""
    if not isinstance(distribution, str):
        return retrained_blocks(distribution, n_cuts, count)
    pool = retrained_blocks(distribution, n_cuts, _DRAWS)
    return [pool[derived_seed(seed, "draw", index) % _DRAWS] for index in range(count)]


def _stored_or_trained(store: SnapshotStore, job: _Job, device: str | torch.device) -> Snapshot:
    found = stored_as_planned(store, job.name, job.plan)
    if found:
        return found
    checkpoint = Checkpoint(store.folder / "training" / f"{job.name}.pt", job.plan)
    trained = train(
        job.spec,
        _initial(store, job),
        job.first,
        job.source.data,
        job.training,
        seed=job.seed,
        device=device,
        checkpoint=checkpoint,
    )
    # Another process may have trained the same model meanwhile, in other seconds.
    made = stored_as_planned(store, job.name, job.plan) or _add(store, job, trained)
    checkpoint.remove()
    return made


def _initial(store: SnapshotStore, job: _Job) -> list[Mapping[str, torch.Tensor]]:
    """Return the tensors to begin with."""
    if job.base:
        return [store.read_block(block) for block in job.base.blocks]
    return [
        initialised(block, derived_seed(job.seed, 0, index))
        for index, block in enumerate(job.spec.blocks)
    ]


def _add(store: SnapshotStore, job: _Job, trained: Trained) -> Snapshot:
    shared = job.base.blocks[: job.first] if job.base else ()
    record = {
        "losses": list(trained.losses),
        "accuracy": trained.accuracy,
        "seconds": trained.seconds,
    }
    return store.add(
        job.name,
        job.spec,
        [*shared, *trained.blocks],
        head=trained.head,
        origin={**job.plan, "record": record},
        # A model whose block was lost is trained anew, in other seconds.
        replace=True,
    )
