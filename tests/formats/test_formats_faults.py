"""Full disks, read-only folders, killed and colliding writers: the old model or the new one."""

from __future__ import annotations

import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from format_cases import assert_same, large_model, same_bits
from format_writers import context, save_forever, save_often

from bench_core import formats
from bench_core.errors import CorruptFileError, SaveError
from bench_core.formats import Durability, Format

WRITERS = [name for name in formats.writers() if name != "redis"]
KILLED = ["torch", "safetensors", "hdf5", "lmdb", "dcp", "tensorstore", "direct"]
TRIES_SHORT, TRIES_LONG = 2, 40

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="mounts and forks as Linux does")


@pytest.fixture
def small_disk(make_small_disk: Callable[[int], Path]) -> Path:
    return make_small_disk(8)


def write_old(format_: Format, folder: Path) -> Path:
    path = folder / f"model{format_.suffix}"
    format_.write(large_model(1, megabytes=1), path, Durability.RETURN)
    return path


def check_untouched(format_: Format, path: Path) -> None:
    with format_.open(path) as reader:
        assert_same(reader.read(), large_model(1, megabytes=1))
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.fixture(params=WRITERS)
def writer(request: pytest.FixtureRequest) -> Format:
    format_ = formats.get(request.param)
    if format_.library is not None:
        pytest.importorskip(format_.library)
    return format_


def test_full_disk(writer: Format, small_disk: Path) -> None:
    path = write_old(writer, small_disk)
    with pytest.raises(SaveError, match="not written") as error:
        writer.write(large_model(2, megabytes=12), path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    check_untouched(writer, path)


def test_read_only_file_system(writer: Format, small_disk: Path) -> None:
    path = write_old(writer, small_disk)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(SaveError, match=r"model.*(?i:read-only)"):
        writer.write(large_model(2, megabytes=1), path)
    check_untouched(writer, path)


def test_file_size_limit(writer: Format, tmp_path: Path) -> None:
    path = write_old(writer, tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with pytest.raises(SaveError, match="not written") as error:
            writer.write(large_model(2), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(path) in str(error.value)
    check_untouched(writer, path)


def kill_while_saving(name: str, path: Path, generator: random.Random) -> None:
    saved_once = context().Event()
    process = context().Process(target=save_forever, args=(name, path, saved_once))
    process.start()
    assert saved_once.wait(60), "the writer has saved nothing"
    time.sleep(generator.uniform(0.0, 0.06))
    assert process.is_alive(), "the writer failed before it was killed"
    process.kill()
    process.join()


@pytest.mark.parametrize(
    "tries",
    [
        pytest.param(TRIES_SHORT, id="short"),
        pytest.param(TRIES_LONG, id="long", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("name", KILLED)
@linux_only
def test_killed_while_saving(name: str, tries: int, tmp_path: Path) -> None:
    format_, generator = formats.get(name), random.Random(7)
    if format_.library is not None:
        pytest.importorskip(format_.library)
    path = tmp_path / f"model{format_.suffix}"
    models = [large_model(1), large_model(2)]
    left_behind = 0
    for _ in range(tries):
        kill_while_saving(name, path, generator)
        left_behind += len(list(tmp_path.iterdir())) - 1
        with format_.open(path) as reader:
            read = {key: tensor.clone() for key, tensor in reader.read().items()}
        assert_same(
            read, models[0] if same_bits(read["layer0"], models[0]["layer0"]) else models[1]
        )
        format_.write(models[0], path, Durability.RETURN)
        assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert left_behind or tries < TRIES_LONG, "no writer was killed in the middle of a save"


@pytest.mark.parametrize("name", ["safetensors", "dcp"])
@linux_only
def test_two_writers_of_one_path(name: str, tmp_path: Path) -> None:
    format_ = formats.get(name)
    path = tmp_path / f"model{format_.suffix}"
    writers = [context().Process(target=save_often, args=(name, path, seed, 15)) for seed in (1, 2)]
    for process in writers:
        process.start()
    seen = 0
    while any(process.is_alive() for process in writers):
        seen += read_one_of_two(format_, path)
    for process in writers:
        process.join()
        assert process.exitcode == 0
    assert seen or path.is_dir(), "a file can be read at any moment"
    assert read_one_of_two(format_, path)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def read_one_of_two(format_: Format, path: Path) -> bool:
    """Check that what is at ``path`` is one of two models; return whether there was one."""
    try:
        with format_.open(path) as reader:
            read = {name: tensor.clone() for name, tensor in reader.read().items()}
    except FileNotFoundError:
        return False
    except CorruptFileError:
        # A folder is read file by file and may be replaced in between; a file is not.
        assert path.is_dir()
        return False
    seed = 1 if same_bits(read["layer0"], large_model(1)["layer0"]) else 2
    assert_same(read, large_model(seed))
    return True
