"""Where a run stands, seen from its folder alone, whoever measures it."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from run_cells import mark, sample
from run_toys import make_package, section

from harness.errors import InputError
from harness.experiments import Experiment, RunFolder, call_for, chosen_folder, define
from harness.experiments.status import Status, newest_folder


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_package(tmp_path_factory.mktemp("status"), "toys_of_status")


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CORE_DATA", str(tmp_path / "data"))


def begun(tmp_path: Path, package: Path, **options: Any) -> tuple[Experiment, RunFolder]:
    """Return an experiment of two cells and its folder, in which nothing was taken."""
    file = tmp_path / "toy.toml"
    file.write_text(section(rounds=2).replace("size = [1]", "size = [1, 2]"))
    defined = define(call_for("toy", file=file, package=package, **options))
    return defined, chosen_folder(tmp_path / "out", defined)


def shown(status: Status) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=200).print(status.shown())
    return [" ".join(line.split()) for line in file.getvalue().splitlines()]


def test_it_follows_what_the_processes_of_a_run_write(tmp_path: Path, package: Path) -> None:
    defined, folder = begun(tmp_path, package)
    status = Status(folder.path)
    assert shown(status) == [
        "comparison cells done running failed samples left",
        "toys 2 0 0 0 8 8",
        f"toy: {folder.path}",
        "0 of 2 cells done, 0 begun, 8 of 8 samples left (none)",
    ]
    first, second = defined.cells
    with folder.new_shard(defined) as one, folder.new_shard(defined) as other:
        one.cell(mark(first, "begin"))
        other.cell(mark(second, "begin"))
        for number, turn in enumerate(first.turns):
            one.sample(sample(first, turn, 2.0 * number))
        one.cell(mark(first, "end", 8.0))
        other.sample(sample(second, second.turns[0], status="failed"))
        assert not status.is_done
        assert shown(status)[1:] == [
            "toys 2 1 1 1 8 3",
            "→ toys size=2",
            f"toy: {folder.path}",
            "1 of 2 cells done, 1 begun, 3 of 8 samples left, 6 s left (1 failed, 4 ok)",
        ]
        for turn in second.turns[1:]:
            other.sample(sample(second, turn))
    assert shown(status)[-1] == (
        "2 of 2 cells done, 0 begun, 0 of 8 samples left, 0 s left (1 failed, 7 ok)"
    )
    assert status.is_done


def test_it_is_of_the_call_that_was_made_last(tmp_path: Path, package: Path) -> None:
    begun(tmp_path, package, words=["rounds=1", "jobs=2"])
    _, folder = begun(tmp_path, package, words=["size=2", "rounds=3"])
    assert shown(Status(folder.path))[1] == "toys 1 0 0 0 6 6"


def test_a_test_is_known_by_its_name(tmp_path: Path, package: Path) -> None:
    _, folder = begun(tmp_path, package, is_test=True)
    assert shown(Status(folder.path))[2] == f"toy-test: {folder.path}"


def test_what_it_is_of_may_be_gone(tmp_path: Path, package: Path) -> None:
    _, folder = begun(tmp_path, package)
    begin = f"{folder.path}: what it is of cannot be read any more: "
    file = tmp_path / "toy.toml"
    file.write_text(section("other"))
    with pytest.raises(InputError) as raised:
        Status(folder.path)
    assert str(raised.value).startswith(f"{begin}{file}: there is no section 'toy'; ")
    file.unlink()
    with pytest.raises(InputError) as raised:
        Status(folder.path)
    assert str(raised.value) == f"{begin}{file} cannot be read: No such file or directory"


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is no run's folder: experiment.json: No such file"):
        Status(tmp_path)


def test_the_newest_folder_is_the_one_that_was_written_to_last(tmp_path: Path) -> None:
    for age, name in enumerate(["a/m-1", "b/m-1", "b/m-2"]):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "experiment.json").write_text(json.dumps({"section": "toy"}))
        (folder / "shard.jsonl").touch()
        os.utime(folder / "shard.jsonl", (100 - age, 100 - age))
        os.utime(folder, (50, 50))
    assert newest_folder(tmp_path) == tmp_path / "a/m-1"
    os.utime(tmp_path / "b/m-2/shard.jsonl", (200, 200))
    assert newest_folder(tmp_path) == tmp_path / "b/m-2"


def test_without_any_run_it_says_how_to_take_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no runs under .*none; take one with: bench-core run"):
        newest_folder(tmp_path / "none")
