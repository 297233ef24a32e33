"""What every data set promises, whatever it is made of."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from data_cases import equal, write_images, write_reviews
from hypothesis import given
from hypothesis import strategies as st

from bench_core.data import DataRecipe, Dataset, Inputs, SearchData, batches

SOURCES = ["digits", "digit_vectors", "docstrings", "vectors", "images", "reviews", "npz"]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> dict[str, DataRecipe]:
    """Recipes for one data set of each form."""
    root = tmp_path_factory.mktemp("data")
    write_images(root / "images")
    write_reviews(root / "reviews")
    (root / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "dull"]))
    random = np.random.default_rng(0)
    np.savez(
        root / "a.npz",
        x_train=random.integers(0, 256, (20, 8, 9, 3), dtype=np.uint8),
        y_train=np.arange(20) % 3,
        x_test=random.integers(0, 256, (10, 8, 9, 3), dtype=np.uint8),
        y_test=np.arange(10) % 3,
    )
    return {
        "digits": DataRecipe.of("digits", num_train_items=50, num_test_items=20, size=20),
        "digit_vectors": DataRecipe.of("digit_vectors", num_train_items=50),
        "docstrings": DataRecipe.of(
            "docstrings", packages=["email", "http"], vocabulary=500, cache=root / "cache"
        ),
        "vectors": DataRecipe.of("vectors", n_train=30, n_test=20, width=5),
        "images": DataRecipe.of(root / "images", size=16),
        "reviews": DataRecipe.of(root / "reviews", tokenizer=root / "vocab.txt", length=8),
        "npz": DataRecipe.of(root / "a.npz"),
    }


@pytest.fixture(scope="module")
def loaded(opened: dict[str, DataRecipe]) -> dict[str, SearchData]:
    return {name: recipe.load() for name, recipe in opened.items()}


@given(data=st.data())
@pytest.mark.parametrize("source", SOURCES)
def test_finishing_what_was_decoded_gives_the_batch(
    loaded: dict[str, SearchData], source: str, data: st.DataObject
) -> None:
    dataset = loaded[source].train
    positions = st.integers(0, len(dataset) - 1)
    indices = data.draw(st.lists(positions, min_size=1, max_size=8))
    batch = dataset.batch(indices)
    assert equal(dataset.finished(dataset.decoded(indices)), batch)
    # An item's bits depend neither on its neighbours nor on the view it is seen through.
    for position, index in enumerate(indices):
        assert equal(dataset.batch(np.array([index])), _row(batch, position))
    assert equal(dataset.select(indices).batch(range(len(indices))), batch)


@pytest.mark.parametrize("source", SOURCES)
def test_batches_are_what_they_are_said_to_be(loaded: dict[str, SearchData], source: str) -> None:
    for dataset in (loaded[source].train, loaded[source].test):
        batch = dataset.batch([0, 1])
        first = batch[0] if isinstance(batch, tuple) else batch
        assert tuple(first.shape) == (2, *dataset.shape)
        assert str(first.dtype) == ("torch.int64" if dataset.kind == "tokens" else "torch.float32")
        assert isinstance(batch, tuple) == (dataset.kind == "tokens")
        decoded = dataset.decoded([0, 1])
        kept = decoded if isinstance(decoded, tuple) else (decoded,)
        assert sum(tensor.nbytes for tensor in kept) == 2 * dataset.decoded_bytes
        assert dataset.labels.dtype == np.int64
        assert set(dataset.labels.tolist()) <= set(range(len(dataset.classes)))


@pytest.mark.parametrize("source", SOURCES)
def test_the_first_items_are_of_all_classes(loaded: dict[str, SearchData], source: str) -> None:
    dataset = loaded[source].train
    n = len(dataset.classes)
    assert sorted(dataset.labels[:n]) == list(range(n))


@pytest.mark.parametrize("source", SOURCES)
def test_digests_are_over_items_order_and_labels(
    opened: dict[str, DataRecipe], loaded: dict[str, SearchData], source: str
) -> None:
    dataset = loaded[source].train
    digest = dataset.digest
    assert opened[source].load().train.digest == digest
    assert dataset.select(range(len(dataset))).digest == digest
    assert dataset.select(range(len(dataset) - 1)).digest != digest
    assert dataset.select([1, 0, *range(2, len(dataset))]).digest != digest
    assert loaded[source].test.digest != digest
    relabelled = dataset.select(range(len(dataset)))
    relabelled.labels = np.roll(relabelled.labels, 1)
    assert relabelled.digest != digest


@pytest.mark.parametrize("source", SOURCES)
def test_a_data_set_travels_to_another_process(loaded: dict[str, SearchData], source: str) -> None:
    dataset = loaded[source].test
    copy: Dataset = pickle.loads(pickle.dumps(dataset))
    assert copy.digest == dataset.digest
    assert equal(copy.batch([2, 0]), dataset.batch([2, 0]))


@pytest.mark.parametrize("source", SOURCES)
def test_workers_give_the_bits_that_one_process_gives(
    loaded: dict[str, SearchData], source: str
) -> None:
    dataset = loaded[source].train
    indices = [np.arange(0, 5), np.arange(5, 6), np.array([3, 1, 3]), np.arange(6, 11)]
    alone = list(batches(dataset, indices, 0))
    assert equal(alone[2], dataset.batch([3, 1, 3]))
    for workers in (1, 2):
        together = list(batches(dataset, indices, workers))
        assert len(together) == len(alone)
        assert all(map(equal, together, alone))


SCRIPT = """
import json, sys
from bench_core.data import DataRecipe
for line in sys.stdin:
    data = DataRecipe.from_json(json.loads(line)).load()
    print(data.train.digest, data.test.digest)
"""


def test_recipes_lead_to_the_same_data_in_another_process(
    opened: dict[str, DataRecipe], loaded: dict[str, SearchData], tmp_path: Path
) -> None:
    # Without the cache, so that the tokenizer is trained there once more.
    contents = [recipe.as_json() | _other_cache(recipe, tmp_path) for recipe in opened.values()]
    lines = "\n".join(map(json.dumps, contents))
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=lines,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "77"},
    )
    expected = [f"{data.train.digest} {data.test.digest}" for data in loaded.values()]
    assert run.stdout.split("\n")[:-1] == expected


def _other_cache(recipe: DataRecipe, folder: Path) -> dict[str, str]:
    return {"cache": str(folder)} if "cache" in dict(recipe.settings) else {}


def _row(batch: Inputs, position: int) -> Inputs:
    if isinstance(batch, tuple):
        return tuple(tensor[position : position + 1] for tensor in batch)
    return batch[position : position + 1]
