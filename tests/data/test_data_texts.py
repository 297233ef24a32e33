"""Docstrings and reviews as token ids."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from data_cases import equal, write_reviews
from tokenizers import Tokenizer

from bench_core.data import DataError, Dataset, load, load_docstrings, load_imdb
from bench_core.data.tokenizing import encode, given_tokenizer, trained_tokenizer
from bench_core.errors import CorruptFileError

TEXTS = [f"the {noun} of number {n}" for n in range(30) for noun in ("house", "horse", "mouse")]


def tokens(dataset: Dataset) -> tuple[torch.Tensor, torch.Tensor]:
    batch = dataset.batch(range(len(dataset)))
    assert isinstance(batch, tuple)
    return batch[0], batch[1]


def write_package(root: Path, name: str, count: int, text: str = "one of {name} says {n}") -> None:
    (root / name).mkdir(parents=True)
    functions = [
        f'def f{n}():\n    """This {text.format(name=name, n=n)}."""\n' for n in range(count)
    ]
    (root / name / "__init__.py").write_text("\n".join(functions))


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "fine", "dull", "and"]))
    return path


def test_docstrings_are_those_of_the_sources(tmp_path: Path) -> None:
    write_package(tmp_path, "birds", 50)
    write_package(tmp_path, "fish", 60)
    (tmp_path / "fish/bad_if_run.py").write_text('"""Never run this module, please."""\n1 / 0\n')
    (tmp_path / "fish/test").mkdir()
    (tmp_path / "fish/test/t.py").write_text('"""Tests are left out of the set."""\n')
    data = load_docstrings(packages=["fish", "birds"], library=tmp_path, vocabulary=200)
    assert data.train.classes == ("birds", "fish")
    both = np.bincount(data.train.labels) + np.bincount(data.test.labels)
    assert both.tolist() == [50, 61]
    assert np.bincount(data.test.labels).tolist() == [10, 12]


def test_a_text_is_in_one_place_only(tmp_path: Path) -> None:
    write_package(tmp_path, "birds", 50)
    write_package(tmp_path, "fish", 50)
    for name in ("birds", "fish"):
        (tmp_path / name / "again.py").write_text('"""The same in both packages here."""\n')
    (tmp_path / "fish/copy.py").write_text((tmp_path / "fish/__init__.py").read_text())
    data = load_docstrings(packages=["fish", "birds"], library=tmp_path, vocabulary=200)
    ids = torch.cat([tokens(side)[0] for side in (data.train, data.test)])
    assert len(ids) == 100
    assert len(ids.unique(dim=0)) == 100


def test_the_digest_follows_the_sources(tmp_path: Path) -> None:
    write_package(tmp_path, "birds", 50)
    write_package(tmp_path, "fish", 50)

    def digest(**settings: int) -> str:
        return load(
            "docstrings",
            **{"packages": ["birds", "fish"], "library": tmp_path, "vocabulary": 200, **settings},
        ).train.digest

    first = digest()
    others = {digest(length=32), digest(vocabulary=50), digest(seed=1)}
    source = tmp_path / "fish/__init__.py"
    source.write_text(source.read_text().replace("one", "none"))
    assert len({first, digest(), *others}) == 5


def test_missing_sources_are_refused(tmp_path: Path) -> None:
    write_package(tmp_path, "birds", 50)
    write_package(tmp_path, "fish", 12)
    with pytest.raises(DataError, match="fish: 12 docstrings, expected 40 or more"):
        load_docstrings(packages=["birds", "fish"], library=tmp_path)
    with pytest.raises(DataError, match="stones: 0 docstrings"):
        load_docstrings(packages=["birds", "stones"], library=tmp_path)
    (tmp_path / "birds/broken.py").write_text("def (")
    with pytest.raises(CorruptFileError, match=r"broken\.py: no Python source"):
        load_docstrings(packages=["birds", "fish"], library=tmp_path)


def test_texts_are_truncated_and_padded() -> None:
    tokenizer = trained_tokenizer(TEXTS, 200, None)
    ids, mask = encode(tokenizer, ["the house", "the house of the mouse of the horse"], 6)
    pad, start, end = map(tokenizer.token_to_id, ("[PAD]", "[CLS]", "[SEP]"))
    assert mask.tolist() == [[True] * 4 + [False] * 2, [True] * 6]
    assert ids[0, 4:].tolist() == [pad, pad]
    assert ids[:, 0].tolist() == [start, start]
    assert ids[0, 3] == ids[1, 5] == end
    assert tokenizer.decode(ids[0].tolist()).replace(" ", "") == "thehouse"
    with pytest.raises(DataError, match="texts of 2 tokens"):
        encode(tokenizer, ["x"], 2)


def test_unknown_characters_have_an_id() -> None:
    tokenizer = trained_tokenizer(TEXTS, 200, None)
    ids, _ = encode(tokenizer, ["\u2603"], 4)
    assert ids[0, 1] == tokenizer.token_to_id("[UNK]")


def test_ids_are_below_the_vocabulary() -> None:
    tokenizer = trained_tokenizer(TEXTS, 60, None)
    assert tokenizer.get_vocab_size() <= 60
    assert int(encode(tokenizer, TEXTS, 16)[0].max()) < 60
    with pytest.raises(DataError, match=r"a vocabulary of 12, expected \d+ or more"):
        trained_tokenizer(TEXTS, 12, None)


def test_a_tokenizer_is_kept_and_a_damaged_one_made_anew(tmp_path: Path) -> None:
    made = trained_tokenizer(TEXTS, 100, tmp_path / "cache")
    (path,) = (tmp_path / "cache").iterdir()
    before = path.stat().st_mtime_ns
    kept = trained_tokenizer(TEXTS, 100, tmp_path / "cache")
    assert path.stat().st_mtime_ns == before
    assert kept.get_vocab() == made.get_vocab()
    path.write_text(path.read_text()[:100])
    anew = trained_tokenizer(TEXTS, 100, tmp_path / "cache")
    assert anew.get_vocab() == made.get_vocab()
    assert Tokenizer.from_file(str(path)).get_vocab() == made.get_vocab()
    assert list((tmp_path / "cache").iterdir()) == [path]
    trained_tokenizer(TEXTS[1:], 100, tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_training_leaves_the_environment_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    trained_tokenizer(TEXTS, 100, None)
    assert "TOKENIZERS_PARALLELISM" not in os.environ
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    trained_tokenizer(TEXTS, 100, None)
    assert os.environ["TOKENIZERS_PARALLELISM"] == "true"


def test_a_tokenizer_is_found_in_its_folder(tmp_path: Path, vocabulary: Path) -> None:
    by_file, by_folder = given_tokenizer(vocabulary), given_tokenizer(tmp_path)
    assert by_file.to_str() == by_folder.to_str()
    assert by_file.encode("A fine film").tokens == ["[CLS]", "a", "fine", "[UNK]", "[SEP]"]
    by_file.save(str(tmp_path / "tokenizer.json"))
    assert given_tokenizer(tmp_path / "tokenizer.json").to_str() == by_file.to_str()
    with pytest.raises(DataError, match="no tokenizer; expected"):
        given_tokenizer(tmp_path / "nowhere")
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(CorruptFileError, match=r"tokenizer\.json: no tokenizer"):
        given_tokenizer(tmp_path)


def test_reviews_of_both_classes_come_from_the_first(tmp_path: Path, vocabulary: Path) -> None:
    folder = write_reviews(tmp_path / "aclImdb", 20, 10)
    data = load(folder, tokenizer=vocabulary, length=8, num_train_items=12, num_test_items=6)
    assert data.train.classes == ("neg", "pos")
    assert [sorted(pair) for pair in data.train.labels.reshape(-1, 2).tolist()] == [[0, 1]] * 6
    ids, mask = tokens(data.train)
    assert ids.shape == (12, 8)
    tokenizer = given_tokenizer(vocabulary)
    fine, dull = tokenizer.token_to_id("fine"), tokenizer.token_to_id("dull")
    assert (ids == fine).any(dim=1).tolist() == (data.train.labels == 1).tolist()
    assert (ids == dull).any(dim=1).tolist() == (data.train.labels == 0).tolist()
    assert mask.all()


def test_reviews_are_tokenised_once(
    tmp_path: Path, vocabulary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, cache = write_reviews(tmp_path / "aclImdb"), tmp_path / "cache"
    first = load_imdb(folder, tokenizer=vocabulary, length=8, cache=cache)
    assert len(list(cache.iterdir())) == 2
    monkeypatch.setattr("bench_core.data.imdb.encode", None)
    again = load_imdb(folder, tokenizer=vocabulary, length=8, cache=cache)
    assert again.train.digest == first.train.digest
    assert equal(again.test.batch([0, 1]), first.test.batch([0, 1]))
    monkeypatch.undo()
    (folder / "test/pos/0_7.txt").write_text("changed since then")
    changed = load_imdb(folder, tokenizer=vocabulary, length=8, cache=cache)
    assert changed.test.digest != first.test.digest
    assert len(list(cache.iterdir())) == 3
    for path in cache.iterdir():
        path.write_bytes(path.read_bytes()[:50])
    repaired = load_imdb(folder, tokenizer=vocabulary, length=8, cache=cache)
    assert repaired.test.digest == changed.test.digest


def test_reviews_that_cannot_be_used_are_named(tmp_path: Path, vocabulary: Path) -> None:
    folder = write_reviews(tmp_path / "aclImdb")
    with pytest.raises(DataError, match="need the models' tokenizer"):
        load(folder)
    bad = folder / "train/pos/3_7.txt"
    bad.write_bytes(b"\xff\xfe\x00 no UTF-8")
    with pytest.raises(CorruptFileError, match=r"3_7\.txt: no text in UTF-8"):
        load(folder, tokenizer=vocabulary)
    for path in (folder / "test/neg").iterdir():
        path.unlink()
    bad.write_text("good again")
    with pytest.raises(DataError, match="neg: no reviews"):
        load(folder, tokenizer=vocabulary)
