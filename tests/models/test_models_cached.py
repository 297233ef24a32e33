"""Cached model files: right, whole, reused, safe for several processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from bench_core import models
from bench_core.errors import SaveError, UnknownNameError

NAME = "tiny_20x4KiB"


def identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def holds(path: Path, name: str, seed: int = 0) -> bool:
    return models.tensors_digest(load_file(path)) == models.tensors_digest(
        models.tensors(name, seed)
    )


def test_the_file_holds_the_model_and_nothing_else_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there"
    path = models.cached_file("resnet18", folder, seed=2)
    assert holds(path, "resnet18", seed=2)
    assert list(folder.iterdir()) == [path]


def test_a_whole_file_is_reused_and_another_seed_is_another_file(tmp_path: Path) -> None:
    path = models.cached_file(NAME, tmp_path)
    before = identity(path)
    assert models.cached_file(NAME, tmp_path) == path
    assert identity(path) == before
    other = models.cached_file(NAME, tmp_path, seed=1)
    assert other != path
    assert holds(other, NAME, seed=1)


def test_another_process_finds_it_quietly_and_without_transformers(tmp_path: Path) -> None:
    models.cached_file("resnet18", tmp_path)
    code = (
        "import sys, pathlib; from bench_core import models;"
        "models.cached_file('resnet18', pathlib.Path(sys.argv[1])); models.specs('nt3');"
        "models.tensors('stack_2x4KiB'); print('transformers' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("False\n", "")


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def lengthen(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def foreign(path: Path) -> None:
    save_file(models.tensors("tiny_2x4B"), path)


@pytest.mark.parametrize("damage", [truncate, lengthen, empty, foreign])
def test_a_file_that_is_not_whole_is_made_again(tmp_path: Path, damage: object) -> None:
    path = models.cached_file(NAME, tmp_path)
    assert callable(damage)
    damage(path)
    assert models.cached_file(NAME, tmp_path) == path
    assert holds(path, NAME)


def test_remains_of_a_killed_process_are_replaced(tmp_path: Path) -> None:
    (tmp_path / f".{NAME}-seed0.safetensors.tmp").write_bytes(b"half a file")
    path = models.cached_file(NAME, tmp_path)
    assert holds(path, NAME)
    assert list(tmp_path.iterdir()) == [path]


def test_two_processes_at_once_make_one_whole_file(tmp_path: Path) -> None:
    name = "stack_4x8MiB"
    code = (
        "import sys, pathlib; from bench_core import models; sys.stdin.readline();"
        f"print(models.cached_file({name!r}, pathlib.Path(sys.argv[1])).stat().st_ino)"
    )
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [worker.communicate("go\n")[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    # Both saw the same file: the second did not replace what the first had made.
    assert outputs[0] == outputs[1]
    assert holds(models.cached_file(name, tmp_path), name)


def test_an_unknown_name_makes_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError):
        models.cached_file("resnet19", tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_folder_that_is_a_file_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(SaveError, match=r"cannot be written .*choose another folder"):
        models.cached_file(NAME, tmp_path / "cache")
