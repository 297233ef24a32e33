"""Damaged blocks, damaged journals and useless features: named, left out or recomputed."""

from __future__ import annotations

import errno
import math
import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from search_sets import WIDTH, items, store_of

import bench_core
from bench_core.data import DataError, SearchData
from bench_core.errors import CorruptFileError, SaveError
from bench_core.model_search import ENGINES, SearchError, SearchResult, loading, search
from bench_core.models.chains import family, initialised
from bench_core.models.chains.mlp import MlpConfiguration
from bench_core.snapshots import SnapshotStore, blocks

LOCAL = [name for name, engine in ENGINES.items() if engine.is_local]
MODELS = [(0, 1), (0, 2), (1, 1), (3,)]


def own_block(store: SnapshotStore, name: str) -> Path:
    """Return the file of a model's last block."""
    return store.block_path(store.snapshot(name).blocks[-1])


def flip_last_byte(path: Path) -> None:
    found = bytearray(path.read_bytes())
    found[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(found)


def truncate(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-8])


def become_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def exchange_with_a_like_one(path: Path) -> None:
    """Give the file the bytes of another block of the same shape."""
    others = path.parents[1].glob("*/*.safetensors")
    other = next(p for p in others if p != path and p.stat().st_size == path.stat().st_size)
    path.chmod(0o644)
    path.write_bytes(other.read_bytes())


DAMAGES = [flip_last_byte, truncate, Path.unlink, become_a_folder, exchange_with_a_like_one]


@pytest.mark.parametrize("engine", LOCAL)
@pytest.mark.parametrize("damage", DAMAGES)
def test_an_unusable_block_is_named_or_its_model_is_ranked_last(
    engine: str, damage: Callable[[Path], None], tmp_path: Path
) -> None:
    store = store_of(tmp_path, MODELS)
    damage(own_block(store, "m3"))
    with pytest.raises(CorruptFileError, match=own_block(store, "m3").name):
        search(store, items(60), engine=engine)
    told: list[tuple[int, int]] = []
    result = search(
        store,
        items(60),
        engine=engine,
        skip_unusable=True,
        progress=lambda done, total: told.append((done, total)),
    )
    left_out = [item.name for item in result.ranking if item.round < 0]
    assert left_out == ["m3"]
    assert {item.name for item in result.ranking} == {"m0", "m1", "m2", "m3"}
    assert told[-1][0] == told[-1][1]
    assert all(done <= total for done, total in told)
    without = search(store, items(60), engine=engine, names=["m0", "m1", "m2"], winners=1)
    assert result.best == without.best


@pytest.mark.parametrize("engine", [name for name in LOCAL if not ENGINES[name].features_on_disk])
def test_a_block_on_a_bad_sector_is_damage(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of(tmp_path, MODELS)
    bad, read = own_block(store, "m3"), loading.load_timed

    def load(path: Path, *rest: Any, **settings: Any) -> Any:
        if path == bad:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return read(path, *rest, **settings)

    monkeypatch.setattr(loading, "load_timed", load)
    result = search(store, items(60), engine=engine, skip_unusable=True)
    assert [item.name for item in result.ranking if item.round < 0] == ["m3"]


def test_blocks_of_a_store_without_checksums_are_held_against_their_digests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "_metadata", lambda ref, tensors: {"block": ref.key})
    store = store_of(tmp_path, MODELS)
    search(store, items(60))
    flip_last_byte(own_block(store, "m3"))
    with pytest.raises(CorruptFileError, match="its bytes are not those"):
        search(store, items(60))


def test_who_does_not_want_blocks_checked_gets_what_is_there(tmp_path: Path) -> None:
    store = store_of(tmp_path, MODELS)
    flip_last_byte(own_block(store, "m3"))
    assert len(search(store, items(60), verify=False).ranking) == len(MODELS)


def test_what_a_damaged_block_gave_is_not_in_the_journal(tmp_path: Path) -> None:
    store, journal = store_of(tmp_path / "store", MODELS), tmp_path / "journal.sqlite"
    expected = search(store, items(60))
    whole = own_block(store, "m3").read_bytes()
    flip_last_byte(own_block(store, "m3"))
    search(store, items(60), journal=journal, skip_unusable=True)
    own_block(store, "m3").write_bytes(whole)
    assert search(store, items(60), journal=journal).table == expected.table


def test_a_model_whose_manifest_is_damaged_is_named_or_ranked_last(tmp_path: Path) -> None:
    store = store_of(tmp_path, MODELS)
    (manifest,) = tmp_path.glob("**/m2.json")
    manifest.write_text("{")
    with pytest.raises(CorruptFileError, match="m2"):
        search(store, items(60))
    result = search(store, items(60), skip_unusable=True)
    assert [item.name for item in result.ranking if item.round < 0] == ["m2"]


@pytest.mark.parametrize("engine", ["base", "shift"])
def test_a_damaged_whole_model_is_named(engine: str, tmp_path: Path) -> None:
    store = store_of(tmp_path, MODELS)
    search(store, items(60), engine=engine)
    path = tmp_path / "whole" / "m1.pt"
    modified = path.stat().st_mtime_ns
    path.write_bytes(bytes(path.stat().st_size))
    os.utime(path, ns=(modified, modified))
    with pytest.raises(CorruptFileError, match=r"m1\.pt.*remove it"):
        search(store, items(60), engine=engine)


def test_a_setting_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=r"no setting 'batchsize'.*did you mean 'batch_size'"):
        search(store_of(tmp_path, MODELS), items(60), batchsize=3)


@pytest.mark.parametrize("engine", LOCAL)
def test_few_items_give_all_models_a_place(engine: str, tmp_path: Path) -> None:
    result = search(store_of(tmp_path, MODELS), items(12, 3), engine=engine, batch_size=3)
    assert [item.rank for item in result.ranking] == [1, 2, 3, 4]


def test_a_damaged_row_of_the_journal_is_computed_again(tmp_path: Path) -> None:
    store, journal = store_of(tmp_path / "store", MODELS), tmp_path / "journal.sqlite"
    expected = search(store, items(60), journal=journal)
    with sqlite3.connect(journal) as connection:
        connection.execute("UPDATE features SET bits = zeroblob(length(bits))")
    connection.close()
    again = search(store, items(60), journal=journal)
    assert again.table == expected.table
    assert again.work.counts["item_blocks"] == expected.work.counts["item_blocks"]


def test_a_journal_serves_another_seed_but_not_other_data(tmp_path: Path) -> None:
    store, journal = store_of(tmp_path / "store", MODELS), tmp_path / "journal.sqlite"
    search(store, items(60), journal=journal, halve=False)
    reused = search(store, items(60), journal=journal, halve=False, seed=1)
    assert "item_blocks" not in reused.work.counts
    assert reused.table == search(store, items(60), halve=False, seed=1).table
    other = search(store, items(61, 13), journal=journal, halve=False)
    assert other.table == search(store, items(61, 13), halve=False).table


def test_a_full_disk_is_one_line_and_what_was_done_is_kept(
    make_small_disk: Callable[[int], Path], tmp_path: Path
) -> None:
    store, found = store_of(tmp_path / "store", MODELS), items(12_000)
    options = {"halve": False, "proxy": "ridge", "batch_size": 100}
    disk = make_small_disk(1)
    with pytest.raises(SaveError, match="make room there") as caught:
        search(store, found, journal=disk / "journal.sqlite", **options)
    assert "\n" not in str(caught.value)
    larger = tmp_path / "larger"
    shutil.copytree(disk, larger)
    result = search(store, found, journal=larger / "journal.sqlite", **options)
    assert result.work.counts["batches_resumed"] > 20
    assert result.table == search(store, found, **options).table


def test_two_searches_in_turns_on_one_journal_agree(tmp_path: Path) -> None:
    store, journal = store_of(tmp_path / "store", MODELS), tmp_path / "journal.sqlite"
    expected = search(store, items(60))
    inner: list[SearchResult] = []

    def search_too(done: int, total: int) -> None:
        if not inner and done > total // 3:
            inner.append(search(store, items(60), journal=journal))

    outer = search(store, items(60), journal=journal, progress=search_too)
    assert inner[0].table == outer.table == expected.table


def test_models_that_do_not_take_the_data_are_all_named_or_ranked_last(tmp_path: Path) -> None:
    store = store_of(tmp_path, MODELS)
    for index in range(7):
        configuration = MlpConfiguration(WIDTH + 1, (WIDTH,))
        spec = family("mlp").chain(configuration, "wider")
        store.add(f"wider{index}", spec, [initialised(block, 0) for block in spec.blocks])
    with pytest.raises(SearchError, match="7 of 11 models do not take the data") as caught:
        search(store, items(60))
    line = str(caught.value)
    assert [name in line for name in ("wider0", "wider4", "wider5", "m0 ")] == [
        True,
        True,
        False,
        False,
    ]
    assert "and 2 more" in line
    result = search(store, items(60), skip_unusable=True)
    assert [item.name for item in result.ranking[4:]] == [f"wider{index}" for index in range(7)]
    assert all(item.round == -1 and "takes vector of 9" in item.note for item in result.ranking[4:])
    assert result.table == search(store, items(60), names=["m0", "m1", "m2", "m3"]).table
    with pytest.raises(SearchError, match="no models"):
        search(store, items(60), names=["wider0", "wider1"], skip_unusable=True)


@pytest.mark.parametrize("engine", LOCAL)
@pytest.mark.parametrize("n_models", [1, 2])
def test_one_or_two_models_are_ranked_by_every_engine(
    engine: str, n_models: int, tmp_path: Path
) -> None:
    names = [f"m{index}" for index in range(n_models)]
    for exact in (False, True):
        result = search(
            store_of(tmp_path, MODELS), items(12), names=names, engine=engine, paper_exact=exact
        )
        assert sorted(item.name for item in result.ranking) == names
        assert all(item.score is not None for item in result.ranking)


def test_a_file_that_is_no_journal_is_refused_in_one_line(tmp_path: Path) -> None:
    journal = tmp_path / "journal.sqlite"
    journal.write_bytes(b"no database at all " * 100)
    with pytest.raises(SaveError, match="journal of the search cannot be used") as caught:
        search(store_of(tmp_path / "store", MODELS), items(60), journal=journal)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("proxy", ["linear", "ridge", "knn", "logme"])
def test_a_model_whose_features_are_no_numbers_comes_last(proxy: str, tmp_path: Path) -> None:
    store = store_of(tmp_path, MODELS)
    snapshot = store.snapshot("m1")
    tensors = [store.read_block(block) for block in snapshot.blocks]
    tensors[-1] = {name: torch.full_like(t, torch.nan) for name, t in tensors[-1].items()}
    configuration = MlpConfiguration(WIDTH, (WIDTH, WIDTH))
    store.add("broken", family("mlp").chain(configuration, "mlp2"), tensors)
    rankings = [search(store, items(60), engine=e, halve=True, proxy=proxy) for e in LOCAL]
    for result in rankings:
        first = result.rounds[0].scores[-1]
        assert (first.name, first.score) == ("broken", -math.inf)
        assert result.ranking == rankings[0].ranking


def test_labels_of_one_class_are_refused(tmp_path: Path) -> None:
    found = items(60)
    same = found.train.select([i for i, label in enumerate(found.train.labels) if label == 0])
    with pytest.raises(DataError, match="of class"):
        search(store_of(tmp_path, MODELS), SearchData(same, found.test))


def test_no_pickle_is_ever_executed() -> None:
    sources = Path(bench_core.__file__).parent.rglob("*.py")
    text = "\n".join(source.read_text(encoding="utf-8") for source in sources)
    loads = re.findall(r"torch\.load\((?:[^()]|\([^()]*\))*\)", text)
    assert loads
    # It is true where nothing is said, from torch 2.6 on.
    assert [call for call in loads if "weights_only=False" in call] == []
    assert not re.search(r"pickle\.loads?\(", text)
