"""Views of a data set: their items, labels and identity."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sets_data import clusters

from bench_core.data import Dataset, Tokens
from bench_core.errors import UnsupportedError
from bench_core.models.chains import InputSpec
from bench_core.snapshots.sources import embedded_sources, sources_of
from bench_core.snapshots.views import CHANGES, Changed, SomeClasses

IMAGES = clusters((3, 6, 6), n_classes=5, n_train=30, n_test=10).train
VIEWS: list[Dataset] = [SomeClasses(IMAGES, [3, 1]), *(Changed(IMAGES, name) for name in CHANGES)]


def items(dataset: Dataset, indices: list[int]) -> torch.Tensor:
    found = dataset.batch(indices)
    assert isinstance(found, torch.Tensor)
    return found


@given(view=st.sampled_from(VIEWS), data=st.data())
def test_a_view_keeps_the_promises_of_a_data_set(view: Dataset, data: st.DataObject) -> None:
    index = st.integers(0, len(view) - 1)
    indices = data.draw(st.lists(index, min_size=1, max_size=8))
    batch = items(view, indices)
    assert batch.shape == (len(indices), *view.shape)
    assert torch.equal(view.finished(view.decoded(indices)), batch)  # type: ignore[arg-type]
    alone = torch.cat([items(view, [index]) for index in indices])
    assert torch.equal(alone, batch)
    chosen = view.select(indices)
    assert torch.equal(items(chosen, list(range(len(indices)))), batch)
    assert chosen.labels.tolist() == view.labels[indices].tolist()
    assert (chosen.classes, type(chosen)) == (view.classes, type(view))


def test_some_classes_are_counted_anew() -> None:
    some = SomeClasses(IMAGES, [3, 1])
    assert some.classes == ("class-3", "class-1")
    assert len(some) == sum(label in (1, 3) for label in IMAGES.labels.tolist())
    origin = np.flatnonzero(np.isin(IMAGES.labels, [1, 3]))
    assert some.labels.tolist() == [{3: 0, 1: 1}[label] for label in IMAGES.labels[origin].tolist()]
    assert torch.equal(items(some, list(range(len(some)))), items(IMAGES, origin.tolist()))


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_changes_the_items_and_not_the_labels(change: str) -> None:
    changed = Changed(IMAGES, change)
    assert not torch.equal(items(changed, [0, 1]), items(IMAGES, [0, 1]))
    assert changed.labels.tolist() == IMAGES.labels.tolist()


def test_all_views_have_digests_of_their_own() -> None:
    views = [IMAGES, *VIEWS, SomeClasses(IMAGES, [1, 3]), SomeClasses(IMAGES, [1])]
    assert len({view.digest for view in views}) == len(views)
    again = SomeClasses(IMAGES, [3, 1])
    assert again.digest == VIEWS[0].digest


def test_sources_have_names_of_their_own_and_the_same_classes_on_both_sides() -> None:
    sources = sources_of(clusters((3, 6, 6), n_classes=5), "digits")
    assert len({source.name for source in sources}) == len(sources) == 10
    assert sources[0].name == "digits"
    for source in sources:
        assert source.data.train.classes == source.data.test.classes
        assert set(source.data.train.labels.tolist()) == set(range(len(source.data.train.classes)))


@pytest.mark.parametrize(
    ("taken", "shape"),
    [
        (InputSpec("vector", (64,)), (64,)),
        (InputSpec("vector", (7,)), (7,)),
        (InputSpec("image", (3, None, None)), (3, 32, 32)),
        (InputSpec("image", (3, 24, 24)), (3, 24, 24)),
        (InputSpec("tokens", (16,)), (16,)),
    ],
)
def test_embedded_sources_fit_the_model(taken: InputSpec, shape: tuple[int, ...]) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("tokenizers")
    sources = embedded_sources(taken)
    assert len(sources) >= 4
    for source in sources:
        assert (source.data.train.kind, source.data.train.shape) == (taken.kind, shape)
        assert taken.accepts(InputSpec(source.data.test.kind, source.data.test.shape))


def test_tokens_are_not_changed() -> None:
    ids = torch.zeros((2, 5), dtype=torch.int32)
    tokens = Tokens("text", ids, ids.bool(), np.array([0, 1]), ["a", "b"])
    with pytest.raises(UnsupportedError, match="tokens cannot be noisy"):
        Changed(tokens, "noisy").batch([0])


def test_only_square_images_are_rotated() -> None:
    def names(shape: tuple[int, ...]) -> set[str]:
        return {source.name for source in sources_of(clusters(shape), "x")}

    assert "x-rotated" in names((3, 6, 6))
    assert names((3, 6, 6)) - names((3, 6, 4)) == {"x-rotated"}
    assert names((3, 6, 6)) - names((64,)) == {"x-rotated"}


def test_few_classes_have_no_halves() -> None:
    names = {source.name for source in sources_of(clusters(n_classes=3), "x")}
    assert names == {"x", "x-inverted", "x-mirrored", "x-shuffled", "x-noisy"}
