"""Sets of models, and data, for the workloads that search: made once and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from harness.benchmark import data_dir
from harness.errors import InputError

if TYPE_CHECKING:
    from bench_core.data import Dataset, SearchData
    from bench_core.models.chains import InputSpec
    from bench_core.snapshots import Snapshot, SnapshotStore, Source

TRAIN_SHARE = 0.8
"""Of the items: as published, 1,600 of 2,000 are to learn from."""
BASE_EPOCHS = 5
"""Of the training of a set's base."""


class ModelSet(NamedTuple):
    """A store, and the models of it that take part."""

    store: SnapshotStore
    names: list[str]


def synthetic(
    architecture: str, distribution: str, n_models: int, size: int, seed: int
) -> ModelSet:
    """Return a synthetic set: `bench_core.snapshots.synthetic_set`.

    The base of a tiny architecture is trained on the embedded data, so that one model is clearly
    the best; that of a large one is initialised only, for just its speed is looked at.
    """
    from bench_core.snapshots import SnapshotStore, synthetic_set

    store = SnapshotStore(sets_folder() / f"{architecture}-{distribution}-{size}-seed{seed}")
    base: Snapshot | Literal["random"] = "random"
    if has_trained_base(architecture):
        base = _trained_base(store, architecture, size, seed)
    found = synthetic_set(store, architecture, distribution, n_models, seed, base=base)
    return ModelSet(store, [snapshot.name for snapshot in found])


def combined(
    architectures: Sequence[str], distribution: str, n_models: int, size: int, seed: int
) -> ModelSet:
    """Return synthetic sets of several architectures in one store, ``n_models`` of each.

    As where models of several makers are searched: nothing is shared from one set to another. The
    bases are initialised only.
    """
    from bench_core.snapshots import SnapshotStore, synthetic_set

    name = "+".join(architectures)
    store = SnapshotStore(sets_folder() / f"{name}-{distribution}-{size}-seed{seed}")
    names: list[str] = []
    for architecture in architectures:
        found = synthetic_set(store, architecture, distribution, n_models, seed)
        names += [snapshot.name for snapshot in found]
    return ModelSet(store, names)


def has_trained_base(architecture: str) -> bool:
    """Whether the base of the synthetic sets is trained."""
    return architecture.endswith("_tiny")


def trained(
    architecture: str,
    n_models: int,
    epochs: int,
    seed: int,
    *,
    distribution: str = "TWENTY_FIVE_PERCENT",
    sources: str = "embedded",
    size: int = 32,
    device: str = "cpu",
) -> ModelSet:
    """Return a really trained set: `bench_core.snapshots.trained_set`.

    Args:
        architecture: of all models.
        n_models: the base included.
        epochs: of each training.
        seed: of heads, orders, draws.
        distribution: of the number of trained blocks.
        sources: what to train on: ``embedded``, or a folder of data sets, each in a folder of its
            own as `data.load` takes it.
        size: of their images in pixels, where the models take any.
        device: where to train.
    """
    from bench_core.snapshots import SnapshotStore, Training, trained_set

    name = f"{architecture}-trained-{n_models}-{epochs}"
    if sources != "embedded":
        name += f"-{size}-{short_digest(str(Path(sources).resolve()))}"
    store = SnapshotStore(sets_folder() / f"{name}-seed{seed}")
    found = trained_set(
        store,
        architecture,
        n_models,
        _sources(architecture, sources, size, seed),
        Training(epochs=epochs, batch_size=64),
        distribution=distribution,
        seed=seed,
        device=device,
    )
    return ModelSet(store, [snapshot.name for snapshot in found])


def search_data(taken: InputSpec, items: int, size: int, source: str = "embedded") -> SearchData:
    """Return data that models take: of ``items`` four fifths to learn from, one to be scored on.

    Where the data have fewer items they come again and again, which costs a search the same.

    Args:
        taken: what the models take.
        items: how many in all.
        size: of images in pixels where models take any, of texts in tokens.
        source: ``embedded``, or a folder of images or of texts.
    """
    from bench_core import data

    found = _whole(taken, size, source)
    n_train = round(items * TRAIN_SHARE)
    return data.SearchData(_first(found.train, n_train), _first(found.test, items - n_train))


def check_source(source: str) -> None:
    """Raise where data are neither the embedded ones nor a folder.

    Raises:
        InputError: there is no such folder.
    """
    if source != "embedded" and not Path(source).is_dir():
        raise InputError(f"data {source!r}: expected 'embedded' or a folder")


def sets_folder() -> Path:
    """Return the folder of all sets."""
    return data_dir() / "model_sets"


def short_digest(text: str) -> str:
    """Return a name of eight characters for a text."""
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def _sources(architecture: str, folder: str, size: int, seed: int) -> list[Source]:
    from bench_core.models import chain
    from bench_core.snapshots import Source, embedded_sources

    taken = chain(architecture).input
    if folder == "embedded":
        return embedded_sources(taken, seed)
    parts = sorted(path for path in Path(folder).iterdir() if path.is_dir())
    return [Source(path.name, _whole(taken, size, str(path))) for path in parts]


def _whole(taken: InputSpec, size: int, source: str = "embedded") -> SearchData:
    from bench_core import data

    sizes: dict[str, dict[str, Any]] = {
        "image": {"size": taken.shape[-1] or size},
        "tokens": {"length": size},
        "vector": {},
    }
    names = {"image": "digits", "tokens": "docstrings", "vector": "digit_vectors"}
    check_source(source)
    name = names[taken.kind] if source == "embedded" else source
    return data.load(name, **sizes[taken.kind])


def _trained_base(store: SnapshotStore, architecture: str, size: int, seed: int) -> Snapshot:
    from bench_core.models import chain
    from bench_core.snapshots import Source, Training, trained_base

    source = Source("embedded", _whole(chain(architecture).input, size))
    training = Training(epochs=BASE_EPOCHS, batch_size=32)
    return trained_base(store, architecture, source, training, seed=seed)


def _first(dataset: Dataset, count: int) -> Dataset:
    import numpy as np

    return dataset.select(np.arange(count) % len(dataset))
