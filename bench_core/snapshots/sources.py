"""What the models of a trained set are trained on: views of one data set that differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench_core.data import load
from bench_core.data.dataset import Dataset, SearchData
from bench_core.models.chains import InputSpec
from bench_core.snapshots.views import CHANGES, Changed, SomeClasses


@dataclass(frozen=True)
class Source:
    """A labelled data set that models are trained on."""

    name: str
    """As it stands in a model's origin: letters, digits and dashes."""
    data: SearchData


def sources_of(data: SearchData, name: str) -> list[Source]:
    """Return sources that are more and less like the given data, to train a set of models on.

    First all classes, then the lower and the upper half of them, then those at even and at odd
    places; for anything but tokens also all classes, with the items changed: see
    `bench_core.snapshots.views.CHANGES`. Only square images are rotated. All
    train only on items of ``data.train``.

    Args:
        data: with four classes or more; fewer have no halves.
        name: of the data, the first part of the sources' names.
    """
    n = len(data.train.classes)
    parts = {
        "low": range(n // 2),
        "high": range(n // 2, n),
        "even": range(0, n, 2),
        "odd": range(1, n, 2),
    }
    found = [Source(name, data)]
    if n >= 4:
        found += [Source(f"{name}-{part}", _some(data, classes)) for part, classes in parts.items()]
    return found + [
        Source(f"{name}-{change}", _changed(data, change)) for change in _changes_for(data.train)
    ]


def embedded_sources(taken: InputSpec, seed: int = 0) -> list[Source]:
    """Return sources that need no files, for models that take such input.

    They are views of scikit-learn's digits, for tokens of the standard library's docstrings. The
    data themselves are not among them: embedded searches look for a model for just those.

    Args:
        taken: what the models take; images of any size are given 32 pixels, texts 64 tokens.
        seed: of the split into training and test items.

    Raises:
        MissingExtraError: scikit-learn, Pillow or tokenizers is not installed.
    """
    size = taken.shape[-1]
    if taken.kind == "image":
        name, data = "digits", load("digits", size=size or 32, seed=seed)
    elif taken.kind == "tokens":
        name, data = "docstrings", load("docstrings", length=size or 64, seed=seed)
    elif size == 64:
        name, data = "digits", load("digit_vectors", seed=seed)
    else:
        name, data = "vectors", load("vectors", width=size, seed=seed)
    return sources_of(data, name)[1:]


def _changes_for(data: Dataset) -> Sequence[str]:
    if data.kind == "tokens":
        return ()
    can_turn = data.kind == "image" and data.shape[-1] == data.shape[-2]
    return [change for change in CHANGES if can_turn or change != "rotated"]


def _some(data: SearchData, classes: Sequence[int]) -> SearchData:
    return SearchData(SomeClasses(data.train, classes), SomeClasses(data.test, classes))


def _changed(data: SearchData, change: str) -> SearchData:
    return SearchData(Changed(data.train, change), Changed(data.test, change))
