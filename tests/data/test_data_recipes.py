"""Data by name or folder, recipes, and what is refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from data_cases import write_images

from bench_core.data import (
    DataError,
    DataRecipe,
    SearchData,
    Vectors,
    batches,
    checked,
    load,
)
from bench_core.errors import CorruptFileError


def side(labels: list[int], width: int = 3, n_classes: int = 2) -> Vectors:
    values = torch.zeros(len(labels), width)
    return Vectors("x", values, np.array(labels, np.int64), list("abc")[:n_classes])


@pytest.mark.parametrize(
    "recipe",
    [
        DataRecipe.of("vectors"),
        DataRecipe.of("digits", size=16, num_train_items=30, seed=4, mean=[0.5, 0.5, 0.5]),
        DataRecipe.of(Path("some/folder"), cache=Path("cache"), order="shuffled"),
    ],
)
def test_a_recipe_travels(recipe: DataRecipe) -> None:
    assert DataRecipe.from_json(json.loads(json.dumps(recipe.as_json()))) == recipe
    assert pickle.loads(pickle.dumps(recipe)) == recipe
    assert hash(recipe) == hash(pickle.loads(pickle.dumps(recipe)))


def test_a_recipe_opens_what_load_opens() -> None:
    settings = {"width": 5, "num_train_items": 40, "seed": 3}
    assert (
        DataRecipe.of("vectors", **settings).load().train.digest  # type: ignore[arg-type]
        == load("vectors", **settings).train.digest  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("content", [{}, {"source": "digits", 3: 4}, [1]])
def test_what_is_no_recipe_is_refused(content: object) -> None:
    with pytest.raises(CorruptFileError, match="no recipe for data"):
        DataRecipe.from_json(content)  # type: ignore[arg-type]


def test_a_smaller_subset_begins_a_larger_one() -> None:
    small, large = (load("digit_vectors", num_train_items=n).train for n in (30, 100))
    assert large.select(range(30)).digest == small.digest


def test_an_unknown_source_says_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="did you mean 'digits'"):
        load("digit")
    with pytest.raises(DataError, match="found an empty folder; expected train/<class>/"):
        load(tmp_path)
    for name in "abcdefg":
        (tmp_path / f"{name}.csv").write_text("")
    with pytest.raises(DataError, match=r"found a\.csv, .* and 2 more"):
        load(tmp_path)
    with pytest.raises(DataError, match=r"is a file that is not an \.npz"):
        load(tmp_path / "a.csv")


@pytest.mark.parametrize("name", ["sizes", "subset", "folder"])
def test_an_unknown_setting_says_what_there_is(name: str) -> None:
    with pytest.raises(DataError, match=f"digits has no setting {name}.*size, test_fraction"):
        DataRecipe("digits", settings=((name, 3),)).load()


def test_fewer_items_than_asked_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="2000 training items were asked for, but there are 1438"):
        load("digits", num_train_items=2000)
    folder = write_images(tmp_path / "images")
    with pytest.raises(DataError, match="10 test items were asked for, but there are 9"):
        load(folder, num_test_items=10)


def test_sides_that_no_search_can_be_made_of_are_refused() -> None:
    good = side([0, 1])
    assert checked(SearchData(good, good)).train is good
    for data, message in (
        (SearchData(side([1, 1]), good), "all 2 training items are of class b"),
        (SearchData(side([]), good), "no training items"),
        (SearchData(good, side([])), "no test items"),
        (SearchData(good, side([0, 1], width=4)), r"vector of \(3,\), test items vector of \(4,\)"),
        (SearchData(good, side([0, 1], n_classes=3)), "different classes"),
    ):
        with pytest.raises(DataError, match=message):
            checked(data)
    with pytest.raises(DataError, match="all 1 training items are of class"):
        load("vectors", num_train_items=1)
    for name in ("train", "test"):
        data = SearchData(side([0, 1]), side([0, 1]))
        getattr(data, name).labels[1] = 2
        with pytest.raises(DataError, match="item 1 has label 2, expected 0 to 1"):
            checked(data)


def test_no_batches_and_senseless_workers() -> None:
    for workers in (0, 2):
        assert list(batches(side([0, 1]), [], workers)) == []
    with pytest.raises(DataError, match="-1 workers"):
        batches(side([0, 1]), [[0]], -1)
