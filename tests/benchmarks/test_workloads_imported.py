"""Searches among imported checkpoints: what is taken, what is skipped, and what stays as it was."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench_core.snapshots import SnapshotStore, import_folder
from benchmarks.model_search import ImportedSearch
from benchmarks.support.hub_checkpoints import write_checkpoints
from harness.errors import InputError
from harness.records import Record


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_CORE_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def search(models: str, engine: str = "shared", n_models: int = 0) -> Record:
    given = {"engine": engine, "models": models, "n_models": n_models, "items": 64}
    axes = zip(ImportedSearch.param_names, ImportedSearch.params, strict=True)
    return ImportedSearch().sample("time_search", *[given.get(name, v[0]) for name, v in axes])


def contents(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_base_and_its_variants_share_what_the_variants_kept(tmp_path: Path) -> None:
    write_checkpoints(tmp_path, "resnet_tiny", 5, seed=0)
    store = SnapshotStore(tmp_path / "store")
    found = [import_folder(store, tmp_path / f"{index:03d}").blocks for index in range(5)]
    shared = [len(set(found[0]) & set(blocks)) for blocks in found]
    assert shared == sorted(shared, reverse=True)
    assert shared[0] == 9 > shared[1] > shared[3] > shared[4] == 0
    assert all(blocks[0] == found[0][0] for blocks in found[:4])


@pytest.mark.parametrize("engine", ["base", "base_tuned", "shift", "alsatian", "shared"])
def test_written_checkpoints_of_two_bases_are_searched(engine: str) -> None:
    record = search("resnet_tiny+vit_tiny", engine, 2)
    assert (record.status, record.reason) == ("ok", None)
    assert (record.extra["n_imported"], record.extra["not_imported"]) == (4, 0)


def test_a_folder_in_the_data_folder_is_found_and_what_cannot_be_imported_is_counted(
    data: Path,
) -> None:
    folder = data / "hub_models" / "tiny"
    write_checkpoints(folder, "resnet_tiny", 3, seed=0)
    shutil.copytree(folder / "000", folder / "damaged")
    (folder / "damaged" / "model.safetensors").write_bytes(b"no tensors")
    for name in ("hub_models/tiny", "hub_models", str(folder)):
        record = search(name)
        assert (record.status, record.reason) == ("ok", None)
        assert (record.extra["n_imported"], record.extra["not_imported"]) == (3, 1)


def test_a_user_s_store_is_searched_and_stays_as_it_was(tmp_path: Path) -> None:
    write_checkpoints(tmp_path / "checkpoints", "resnet_tiny", 3, seed=0)
    store = SnapshotStore(tmp_path / "store")
    for index in range(3):
        import_folder(store, tmp_path / "checkpoints" / f"{index:03d}")
    before = contents(store.folder)
    for engine, n_models in (("shift", 0), ("shared", 2)):
        record = search(str(store.folder), engine, n_models)
        assert (record.status, record.reason) == ("ok", None)
        assert record.extra["n_imported"] == (n_models or 3)
    assert contents(store.folder) == before


def test_a_folder_that_is_missing_is_a_skipped_case(data: Path) -> None:
    record = search("hub_models/resnet-18")
    assert (record.status, record.value) == ("skipped", None)
    assert str(data / "hub_models" / "resnet-18") in str(record.reason)
    (data / "hub_models" / "resnet-18").mkdir(parents=True)
    record = search("hub_models/resnet-18")
    assert (record.status, record.value) == ("skipped", None)
    with pytest.raises(InputError, match="/nowhere/at/all"):
        ImportedSearch.check_param("models", "/nowhere/at/all")
