"""What a search refuses beforehand: no block is read, and nothing is prepared or computed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from search_sets import WIDTH, items, store_of

from bench_core.data import DataError, SearchData, Subset, Tokens, from_arrays
from bench_core.model_search import SearchError, search
from bench_core.models.chains import family, initialised
from bench_core.models.chains.mlp import MlpConfiguration
from bench_core.snapshots import SnapshotStore

FOUR = [(0, 1), (0, 2), (1, 1), (3,)]
TEXTS = 16
"""Tokens of a text."""
IDS = 50
"""Token ids that the texts use, from 0 on."""


def refused(
    store: SnapshotStore, data: SearchData, expected: type[Exception], **settings: Any
) -> str:
    """See that a search is refused in one line without any block, and return the line."""
    shutil.rmtree(store.folder / "blocks")
    seen: list[int] = []
    with pytest.raises(expected) as caught:
        search(store, data, progress=lambda done, total: seen.append(done), **settings)
    assert seen == []
    assert not (store.folder / "whole").exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def sorted_items(n_train: int, n_first: int = 10) -> SearchData:
    """Return vectors of two classes, of which the first so many are of one."""
    values = np.random.default_rng(0).normal(size=(n_train, WIDTH))
    labels = (np.arange(n_train) >= n_first).astype(np.int64)
    stored = Subset(order="stored")
    return from_arrays(values, labels, values[-12:], labels[-12:], subset=stored)


@pytest.mark.parametrize("engine", ["shared", "shift"])
@pytest.mark.parametrize("n_train", [15, 16, 32])
def test_the_least_items_that_are_named_are_enough(
    engine: str, n_train: int, tmp_path: Path
) -> None:
    store = store_of(tmp_path, [(0, index) for index in range(20)])
    assert len(search(store, items(33), engine=engine).rounds[0].scores) == 20
    shutil.rmtree(store.folder / "whole", ignore_errors=True)
    line = refused(store, items(n_train), SearchError, engine=engine)
    assert f"{n_train} training items are too few" in line
    assert "give at least 33, or" in line


def test_a_first_round_of_one_class_says_how_many_items_have_two(tmp_path: Path) -> None:
    store = store_of(tmp_path, FOUR)
    assert search(store, sorted_items(41)).rounds[0].stop == 11
    line = refused(store, sorted_items(40), SearchError)
    assert "all 10 training labels are of class 0" in line
    assert "first round has 10 of the 40 training items: give at least 41 in this order" in line


@pytest.mark.parametrize("proxy", ["hscore", "logme", "transrate"])
def test_a_first_round_of_fewer_items_than_classes_says_how_many_it_needs(
    proxy: str, tmp_path: Path
) -> None:
    store = store_of(tmp_path, FOUR)
    assert search(store, items(9), proxy=proxy).rounds[0].stop == 3
    line = refused(store, items(8), SearchError, proxy=proxy)
    assert "as many training items as classes, 3, but a round has 2" in line
    assert "give at least 9 in this order" in line


def test_a_label_of_no_class_is_refused(tmp_path: Path) -> None:
    for side in ("train", "test"):
        found = items(60)
        getattr(found, side).labels[-1] = 3
        line = refused(store_of(tmp_path / side, FOUR), found, DataError)
        assert "has label 3, expected 0 to 2" in line


def test_sides_that_do_not_fit_each_other_are_refused(tmp_path: Path) -> None:
    found, wider = items(60), np.zeros((3, WIDTH + 1))
    other = from_arrays(wider, [0, 1, 2], wider, [0, 1, 2]).test
    one_class = found.train.select(np.flatnonzero(found.train.labels == 1))
    cases = [
        (SearchData(found.train, other), r"test items vector of (9,)"),
        (SearchData(found.train, found.test.select([])), "no test items"),
        (SearchData(one_class, found.test), "training items are of class cluster-1"),
    ]
    for index, (data, text) in enumerate(cases):
        assert text in refused(store_of(tmp_path / str(index), FOUR), data, DataError)


def add_with_head(store: SnapshotStore, name: str) -> None:
    spec = family("mlp").chain(MlpConfiguration(WIDTH, (WIDTH,)), "mlp1")
    generator = torch.Generator().manual_seed(0)
    head = torch.randn(4, WIDTH, generator=generator), torch.zeros(4)
    store.add(name, spec, [initialised(block, 5) for block in spec.blocks], head=head)


@pytest.mark.parametrize("proxy", ["leep", "nce"])
def test_models_without_a_classifier_are_named_or_ranked_last(proxy: str, tmp_path: Path) -> None:
    store = store_of(tmp_path, FOUR)
    line = refused(store_of(tmp_path / "bare", FOUR), items(60), SearchError, proxy=proxy)
    assert "4 of 4 models were stored without their classifier" in line
    assert "m0; m1; m2; m3; take another" in line
    with pytest.raises(SearchError, match="4 of 4 models were stored without"):
        search(store, items(60), proxy=proxy, skip_unusable=True)
    add_with_head(store, "headed")
    result = search(store, items(60), proxy=proxy, skip_unusable=True)
    assert [item.name for item in result.ranking] == ["headed", "m0", "m1", "m2", "m3"]
    assert all("without its classifier" in item.note for item in result.ranking[1:])
    assert "4 of 5 models" in refused(store, items(60), SearchError, proxy=proxy)


def add_bert(store: SnapshotStore, name: str, **settings: int) -> None:
    configuration = family("bert").configuration(
        **{
            "vocab_size": IDS,
            "max_position_embeddings": TEXTS,
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 16,
            **settings,
        }
    )
    spec = family("bert").chain(configuration, "bert_small")
    store.add(name, spec, [initialised(block, index) for index, block in enumerate(spec.blocks)])


def texts(n_train: int = 24, n_test: int = 8, *, test_ids: int = IDS) -> SearchData:
    """Return random texts of two classes; training items have ids up to 8 below the highest."""
    random, sides = np.random.default_rng(0), []
    for count, n_ids in ((n_train, IDS - 8), (n_test, test_ids)):
        ids = random.integers(0, n_ids, (count, TEXTS)).astype(np.int32)
        ids[-1, -1] = n_ids - 1
        mask = np.ones((count, TEXTS), bool)
        mask[-1, -1] = False
        tensors = torch.from_numpy(ids), torch.from_numpy(mask)
        sides.append(Tokens("texts", *tensors, np.arange(count) % 2, ["a", "b"]))
    return SearchData(*sides)


@pytest.mark.parametrize("engine", ["shared", "base_tuned"])
def test_texts_that_a_model_has_no_words_or_positions_for_are_refused_or_it_is_ranked_last(
    engine: str, tmp_path: Path
) -> None:
    store = SnapshotStore(tmp_path)
    for name in ("a", "b"):
        add_bert(store, name, num_hidden_layers=1 + (name == "b"))
    expected = search(store, texts(), engine=engine)
    add_bert(store, "few_words", vocab_size=IDS - 1)
    add_bert(store, "short", max_position_embeddings=TEXTS - 1)
    result = search(store, texts(), engine=engine, skip_unusable=True)
    assert result.table == expected.table
    notes = {item.name: item.note for item in result.ranking if item.round == -1}
    assert notes.keys() == {"few_words", "short"}
    assert notes["few_words"] == "takes token ids below 49, but the data have ids up to 49"
    assert "texts of 16 tokens, the model has positions for 15" in notes["short"]
    # The highest id is a test item's, under the mask: it is looked up nevertheless.
    assert search(store, texts(test_ids=IDS - 1), names=["few_words"], engine=engine).best
    line = refused(store, texts(), SearchError, engine=engine)
    assert "2 of 4 models do not take the data: few_words takes token ids below 49" in line
    assert "; short cannot take tokens of 16: texts of 16 tokens" in line
    assert "skip_unusable" in line


def test_images_that_are_too_small_for_a_model_are_refused_or_it_is_ranked_last(
    tmp_path: Path,
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (24, 3, 4, 4), dtype=np.uint8)
    data = from_arrays(images, np.arange(24) % 2, images[:6], np.arange(6) % 2)
    store = SnapshotStore(tmp_path)
    for name, patch in (("fine", 4), ("coarse", 8)):
        configuration = family("dinov2").configuration(
            image_size=32,
            patch_size=patch,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            mlp_ratio=2,
        )
        spec = family("dinov2").chain(configuration, f"dinov2_{name}")
        store.add(name, spec, [initialised(block, 0) for block in spec.blocks])
    result = search(store, data, skip_unusable=True)
    assert [(item.name, item.round) for item in result.ranking] == [("fine", 0), ("coarse", -1)]
    line = refused(store, data, SearchError)
    assert "1 of 2 models do not take the data: coarse cannot take image of 3 x 4 x 4: " in line
