"""Arrays, clusters and digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from data_cases import equal
from sklearn.datasets import load_digits

from bench_core.data import DataError, Images, Subset, Vectors, from_arrays, load, load_npz
from bench_core.errors import CorruptFileError

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 3, 6, 7), dtype=np.uint8)
LABELS = np.arange(12) % 3
STORED = Subset(order="stored")


def test_images_may_have_their_colours_last_or_none() -> None:
    first = from_arrays(IMAGES, LABELS, IMAGES[:4], LABELS[:4]).train
    last = from_arrays(IMAGES.transpose(0, 2, 3, 1), LABELS, IMAGES[:4], LABELS[:4]).train
    assert first.digest == last.digest
    assert first.shape == (3, 6, 7)
    grey = from_arrays(IMAGES[:, 0], LABELS, IMAGES[:4, 0], LABELS[:4]).train
    decoded = grey.decoded([0])
    assert isinstance(decoded, torch.Tensor)
    assert torch.equal(decoded[0, 0], decoded[0, 2])


def test_vectors_are_taken_as_they_are() -> None:
    values = np.random.default_rng(0).normal(size=(12, 5))
    data = from_arrays(values, LABELS, values[:3], LABELS[:3], subset=STORED)
    assert data.train.kind == "vector" and data.train.shape == (5,)
    assert equal(data.train.batch([2]), torch.from_numpy(values[2:3].astype(np.float32)))


def test_classes_may_be_names_or_any_numbers() -> None:
    names = np.array(["dog", "ape", "cow"])[LABELS]
    data = from_arrays(IMAGES, names, IMAGES[:3], names[:3], subset=STORED)
    assert data.train.classes == ("ape", "cow", "dog")
    assert data.train.labels[:3].tolist() == data.test.labels.tolist() == [2, 0, 1]
    data = from_arrays(IMAGES, LABELS * 10 + 7, IMAGES[:3], (LABELS * 10 + 7)[:3])
    assert data.train.classes == ("7", "17", "27")
    column = from_arrays(IMAGES, LABELS[:, None], IMAGES[:3], LABELS[:3, None])
    assert column.train.classes == ("0", "1", "2")


def test_items_are_copied() -> None:
    given = IMAGES.copy()
    data = from_arrays(given, LABELS, given[:3], LABELS[:3])
    digest = data.train.digest
    given[:] = 0
    assert data.train.digest == digest


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (IMAGES, None, "labels are missing"),
        (IMAGES, LABELS[:5], "12 items and 5 labels"),
        (IMAGES, LABELS - 1, "item 0 has label -1"),
        (IMAGES, LABELS.astype(float), "labels of type float64"),
        (IMAGES, [], "labels of type"),
        (IMAGES.astype(np.int32), LABELS, "items of type int32"),
        (IMAGES.astype(np.float32), LABELS, "items of type float32"),
        (IMAGES[:, :2], LABELS, "items of type uint8 and shape"),
        ([*IMAGES[:11], IMAGES[11, :, :5]], LABELS, "different shapes"),
    ],
)
def test_what_cannot_be_used_is_refused(x: object, y: object, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        from_arrays(x, y, IMAGES[:3], LABELS[:3])  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_class_of_the_test_items_only_is_refused() -> None:
    with pytest.raises(DataError, match="class 9 is among the test items only"):
        from_arrays(IMAGES, LABELS, IMAGES[:2], [0, 9])


def test_sides_that_no_search_can_be_made_of_are_refused_at_once() -> None:
    values = np.random.default_rng(0).normal(size=(12, 8))
    with pytest.raises(DataError, match=r"vector of \(8,\), test items vector of \(7,\)"):
        from_arrays(values, LABELS, values[:3, :7], LABELS[:3])
    with pytest.raises(DataError, match=r"image of \(3, 6, 7\), test items image of \(3, 5, 7\)"):
        from_arrays(IMAGES, LABELS, IMAGES[:3, :, :5], LABELS[:3])
    with pytest.raises(DataError, match="all 12 training items are of class 4"):
        from_arrays(values, [4] * 12, values[:3], [4] * 3)
    with pytest.raises(DataError, match="all 1 training items are of class"):
        from_arrays(values, LABELS, values[:3], LABELS[:3], subset=Subset(num_train_items=1))


def test_labels_that_name_no_class_are_refused() -> None:
    with pytest.raises(DataError, match="item 1 has label 5, expected 0 to 1"):
        Vectors("v", torch.zeros(2, 3), np.array([0, 5]), ["a", "b"])
    with pytest.raises(DataError, match="expected one whole number"):
        Images("i", torch.zeros(2, 3, 4, 4, dtype=torch.uint8), np.zeros((2, 2)), ["a"])


def test_files_of_arrays(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:6], y_test=LABELS[:6])
    data = load(path, num_train_items=9)
    assert len(data.train) == 9 and data.train.shape == (3, 6, 7)
    np.savez(path, x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:6])
    with pytest.raises(DataError, match=r"a\.npz: no array y_test"):
        load_npz(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(CorruptFileError, match=r"a\.npz: no arrays"):
        load_npz(path)
    pickled = np.array([{"a": 1}] * 3, dtype=object)
    np.savez(path, x_train=pickled, y_train=LABELS, x_test=pickled, y_test=LABELS)
    with pytest.raises(CorruptFileError, match="no arrays that can be read"):
        load_npz(path)


def test_clusters_can_be_told_apart_as_far_as_they_are_separate() -> None:
    def accuracy(separation: float) -> float:
        data = load("vectors", separation=separation, n_test=400, width=32)
        train, test = (side.batch(range(len(side))) for side in (data.train, data.test))
        assert isinstance(train, torch.Tensor) and isinstance(test, torch.Tensor)
        labels = torch.from_numpy(data.train.labels)
        centres = torch.stack([train[labels == label].mean(dim=0) for label in range(10)])
        nearest = torch.cdist(test, centres).argmin(dim=1).numpy()
        return float((nearest == data.test.labels).mean())

    assert accuracy(1.0) > 0.95
    assert accuracy(0.0) < 0.25


@pytest.mark.parametrize(
    "settings", [{"width": 0}, {"n_classes": 1}, {"n_train": 9}, {"n_test": 2}]
)
def test_clusters_that_make_no_sense_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(DataError, match="expected a width of 1 or more"):
        load("vectors", **settings)


def test_digits_are_all_there_and_enlarged() -> None:
    data = load("digits", size=8, order="stored")
    assert len(data.train) + len(data.test) == 1797
    assert np.abs(np.bincount(data.test.labels) - 36).max() <= 1
    images = torch.cat([side.decoded(range(len(side))) for side in (data.train, data.test)])
    assert torch.equal(images[:, 0], images[:, 2])
    # At 8 pixels the resizing does nothing, so the grey levels are the library's own.
    levels = sorted(map(bytes, (images[:, 0].double() * 16 / 255).round().byte().numpy()))
    assert levels == sorted(map(bytes, load_digits().images.astype(np.uint8)))
    assert load("digits", size=48).train.batch([0]).shape == (1, 3, 48, 48)  # type: ignore[union-attr]


def test_the_digits_split_and_digest_follow_seed_and_settings() -> None:
    digests = [
        load("digits", **settings).train.digest  # type: ignore[arg-type]
        for settings in (
            {},
            {"seed": 1},
            {"size": 16},
            {"test_fraction": 0.5},
            {"mean": (0.5, 0.5, 0.5)},
            {"num_train_items": 100},
        )
    ]
    assert len(set(digests)) == len(digests)
    assert load("digits").train.digest == digests[0]
    with pytest.raises(DataError, match="images of 0 pixels"):
        load("digits", size=0)
