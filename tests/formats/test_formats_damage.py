"""Damaged and hostile files: an error that names the file, never a crash or code that runs."""

from __future__ import annotations

import json
import pickle
import random
import subprocess
import sys
import threading
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from format_cases import assert_same, random_tensor, same_bits

from bench_core import formats
from bench_core.errors import CorruptFileError, SaveError, UnsupportedError
from bench_core.formats import Durability
from bench_core.formats.lmdb_pages import check_pages

CASES, SEED = 4, 3
FUZZ = Path(__file__).with_name("format_fuzz.py")
CHECKED_TO_THE_LAST_BIT = ("npz",)
"""The formats whose reader compares a checksum of every byte."""
HAVE_UNUSED_FILES = ("tensorstore",)
"""The formats that leave files of superseded metadata, which nobody reads."""


def fuzz(folder: Path, *names: str, cases: int = CASES) -> list[dict[str, Any]]:
    """Damage files of these formats in another process; return what became of each."""
    command = [sys.executable, str(FUZZ), str(folder), str(SEED), str(cases), *names]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"died with {lines[-1] if lines else 'nothing'}: {done.stderr}"
    return [line for line in lines if "outcome" in line]


def file_formats() -> list[str]:
    """Return the formats whose library is installed, but for Redis, which has no files."""
    libraries = {name: formats.get(name).library for name in formats.names() if name != "redis"}
    return [name for name, library in libraries.items() if not library or find_spec(library)]


@pytest.mark.parametrize(
    "cases",
    [
        pytest.param(CASES, id="short"),
        pytest.param(250, id="long", marks=pytest.mark.slow),
    ],
)
def test_damaged_files(tmp_path: Path, cases: int) -> None:
    outcomes = fuzz(tmp_path, *file_formats(), cases=cases)
    assert {outcome["format"] for outcome in outcomes} == set(file_formats())
    for case in outcomes:
        assert case["outcome"] in ("error", "same", "different"), case
        if case["damage"].startswith("cut") and case["format"] not in HAVE_UNUSED_FILES:
            assert case["outcome"] == "error", case
        if case["damage"].startswith("cut") or case["format"] in CHECKED_TO_THE_LAST_BIT:
            assert case["outcome"] != "different", case
    assert Counter(case["outcome"] for case in outcomes)["error"] > len(file_formats()) * 10


def written(name: str, folder: Path, model: dict[str, torch.Tensor]) -> Path:
    format_ = formats.get(name)
    if format_.library is not None:
        pytest.importorskip(format_.library)
    path = folder / f"model{format_.suffix}"
    format_.write(model, path, Durability.RETURN)
    return path


def read(name: str, path: Path) -> dict[str, torch.Tensor]:
    with formats.get(name).open(path) as reader:
        return reader.read()


class Hostile:
    """An object whose unpickling makes a file."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.proof,))


@pytest.mark.parametrize("name", ["torch", "torch_no_crc", "torch_mmap"])
def test_a_torch_file_runs_no_code(name: str, tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(3), "bad": Hostile(tmp_path / "proof")}, tmp_path / "model.pt")
    with pytest.raises(CorruptFileError, match=r"model.pt"):
        read(name, tmp_path / "model.pt")
    assert not (tmp_path / "proof").exists()


def test_a_checkpoint_s_metadata_run_no_code(tmp_path: Path) -> None:
    path = written("dcp", tmp_path, {"w": torch.zeros(3)})
    (path / ".metadata").write_bytes(pickle.dumps(Hostile(tmp_path / "proof")))
    with pytest.raises(CorruptFileError, match="has no place in a checkpoint's metadata"):
        read("dcp", path)
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("torch", "load"),
        ("torch", "Size.__doc__"),
        ("torch.serialization", "load"),
        ("torch.distributed.checkpoint.filesystem", "os.system"),
        ("torch.distributed.checkpoint.metadata", "Metadata.__init__"),
        ("pathlib", "Path.touch"),
        ("builtins", "eval"),
    ],
)
def test_metadata_name_nothing_else(tmp_path: Path, module: str, name: str) -> None:
    path = written("dcp", tmp_path, {"w": torch.zeros(3)})
    texts = b"".join(b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name))
    (path / ".metadata").write_bytes(b"\x80\x04" + texts + b"\x93.")
    with pytest.raises(CorruptFileError, match=f"{module}.{name} has no place in a checkpoint"):
        read("dcp", path)


def test_an_npz_runs_no_code(tmp_path: Path) -> None:
    objects = np.array([Hostile(tmp_path / "proof")], dtype=object)
    np.savez(tmp_path / "model.npz", objects, allow_pickle=True)
    with pytest.raises(CorruptFileError, match=r"model.npz"):
        read("npz", tmp_path / "model.npz")
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize("content", [[torch.zeros(2)], {"w": torch.zeros(2), "epoch": 3}, {1: 2}])
def test_a_torch_file_of_something_else(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "model.pt")
    for name in ("torch", "torch_mmap"):
        with pytest.raises(UnsupportedError, match=r"model.pt.*expected a"):
            read(name, tmp_path / "model.pt")


def test_torch_does_not_compare_its_checksums(tmp_path: Path) -> None:
    """What the module's docstring says; if this fails, torch has learnt it and that must change."""
    model = {"w": random_tensor(torch.uint8, (4096,))}
    path = written("torch", tmp_path, model)
    content = bytearray(path.read_bytes())
    content[content.index(model["w"].numpy().tobytes()) + 100] ^= 1
    path.write_bytes(content)
    assert not same_bits(read("torch", path)["w"], model["w"])
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is not None


def test_an_npz_finds_a_flipped_bit(tmp_path: Path) -> None:
    model = {"w": random_tensor(torch.uint8, (4096,)), "v": torch.zeros(3)}
    path = written("npz", tmp_path, model)
    content = bytearray(path.read_bytes())
    content[content.index(model["w"].numpy().tobytes()) + 100] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match="CRC"):
        read("npz", path)
    with formats.get("npz").open(path) as reader:
        assert_same(reader.read(["v"]), {"v": model["v"]})


def test_a_checkpoint_without_one_of_its_files(tmp_path: Path) -> None:
    path = written("dcp", tmp_path, {f"w{i}": torch.rand(100) for i in range(8)})
    next(path.glob("*.distcp")).unlink()
    with pytest.raises(CorruptFileError, match="truncated or missing"):
        read("dcp", path)


def test_a_checkpoint_whose_chunks_leave_a_gap(tmp_path: Path) -> None:
    """The library would return the destination as it was, here fresh memory."""
    path = written("dcp", tmp_path, {"w": torch.rand(100)})
    metadata = pickle.loads((path / ".metadata").read_bytes())
    metadata.state_dict_metadata["w"].size = torch.Size([101])
    (path / ".metadata").write_bytes(pickle.dumps(metadata))
    with pytest.raises(CorruptFileError, match="chunks of 'w' do not add up"):
        read("dcp", path)


def test_a_lost_thread_of_the_checkpoint_writer_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`torch.distributed.checkpoint.save` returns as if all was well."""
    from torch.distributed.checkpoint import filesystem

    real = filesystem._write_item

    def fail(transforms: Any, stream: Any, data: Any, write_item: Any, *rest: Any) -> Any:
        if write_item.index.fqn == "w3":
            raise OSError(28, "No space left on device")
        return real(transforms, stream, data, write_item, *rest)

    monkeypatch.setattr(filesystem, "_write_item", fail)
    with pytest.raises(OSError, match="No space left on device; free space"):
        written("dcp", tmp_path, {f"w{i}": torch.rand(100) for i in range(8)})
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_the_checkpoint_writer_cannot_open_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooked: list[object] = []
    monkeypatch.setattr(threading, "excepthook", hooked.append)
    real, tried = Path.open, threading.Event()

    def fail(path: Path, *args: Any, **how: Any) -> Any:
        if path.suffix == ".distcp":
            if threading.current_thread() is not threading.main_thread():
                tried.set()
                raise OSError(24, "Too many open files", str(path))
            assert tried.wait(60)
        return real(path, *args, **how)

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(SaveError, match="not written, Too many open files"):
        written("dcp", tmp_path, {f"w{i}": torch.rand(100) for i in range(8)})
    assert list(tmp_path.iterdir()) == []
    assert hooked == []


def together(count: int, work: Callable[[int], None]) -> None:
    """Do work in threads at once, and wait."""
    threads = [threading.Thread(target=work, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_checkpoints_that_threads_write_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error belongs to its own save, and the process is left as it was."""
    from torch.distributed.checkpoint import filesystem, state_dict_saver

    hooked: list[object] = []
    monkeypatch.setattr(threading, "excepthook", hook := hooked.append)
    real, save, begun = filesystem._write_item, state_dict_saver.save, threading.Barrier(3)

    def fail(transforms: Any, stream: Any, data: Any, write_item: Any, *rest: Any) -> Any:
        if write_item.index.fqn == "bad":
            raise OSError(28, "No space left on device")
        return real(transforms, stream, data, write_item, *rest)

    def save_at_once(*args: Any, **settings: Any) -> Any:
        begun.wait(60)
        return save(*args, **settings)

    monkeypatch.setattr(filesystem, "_write_item", fail)
    monkeypatch.setattr(state_dict_saver, "save", save_at_once)
    filters, failed = list(warnings.filters), []
    models = [{f"w{i}": torch.rand(100) for i in range(8)} for _ in range(3)]
    models[1]["bad"] = torch.rand(100)

    def write(number: int) -> None:
        try:
            written("dcp", tmp_path / str(number), models[number])
        except SaveError as error:
            assert "No space left on device" in str(error)
            failed.append(number)

    for number in range(3):
        (tmp_path / str(number)).mkdir()
    for _ in range(6):
        together(3, write)
    assert failed == [1] * 6
    for number in (0, 2):
        assert_same(read("dcp", tmp_path / str(number) / "model.dcp"), models[number])
    assert threading.excepthook is hook
    assert hooked == []
    assert list(warnings.filters) == filters


def many(count: int) -> dict[str, torch.Tensor]:
    return {f"layer{i}": torch.full((3,), float(i)) for i in range(count)} | {
        "large": torch.rand(4000)
    }


def test_pages_of_an_lmdb_file_are_checked(tmp_path: Path) -> None:
    path = written("lmdb", tmp_path, many(500))
    check_pages(path)
    content, generator, refused = path.read_bytes(), random.Random(1), 0
    pages = len(content) // 4096
    for _ in range(150):
        damaged = bytearray(content)
        position = generator.randrange(pages) * 4096 + generator.randrange(64)
        damaged[position] = generator.choice([0, 255, damaged[position] ^ 1])
        path.write_bytes(damaged)
        try:
            check_pages(path)
        except CorruptFileError as error:
            assert str(path) in str(error)
            refused += 1
        else:  # then the library must get along with it
            try:
                read("lmdb", path)
            except CorruptFileError:
                refused += 1
    assert refused > 25


@pytest.mark.parametrize(
    ("page", "offset", "value", "text"),
    [
        (0, 16, 0, "magic"),
        (1, 16, 0, "magic"),
        (0, 40, 3, "page size"),
        (1, 16 + 24 + 48 + 6, 60, "levels deep|kind"),
    ],
)
def test_meta_pages_of_an_lmdb_file(
    tmp_path: Path, page: int, offset: int, value: int, text: str
) -> None:
    path = written("lmdb", tmp_path, many(10))
    content = bytearray(path.read_bytes())
    content[page * 4096 + offset] = value
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=text):
        formats.get("lmdb").open(path)


def test_an_lmdb_file_of_another_program(tmp_path: Path) -> None:
    lmdb = pytest.importorskip("lmdb")
    path = tmp_path / "other.mdb"
    environment = lmdb.open(str(path), subdir=False, lock=False)
    environment.close()
    with pytest.raises(CorruptFileError, match="has no index of tensors"):
        formats.get("lmdb").open(path)
    environment = lmdb.open(str(path), subdir=False, lock=False)
    with environment.begin(write=True) as transaction:
        transaction.put(b"key", b"value")
    environment.close()
    with pytest.raises(CorruptFileError, match="has no index of tensors"):
        formats.get("lmdb").open(path)


def test_an_hdf5_file_of_another_program(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["kernel"] = np.arange(6, dtype=">f4").reshape(2, 3)
        file.create_dataset("packed", data=np.zeros(1000), chunks=True, compression="gzip")
        file["label"] = "a text"
        file.create_group("layer")
    with formats.get("hdf5").open(tmp_path / "other.h5") as reader:
        expected = {"kernel": torch.arange(6.0).view(2, 3), "packed": torch.zeros(1000).double()}
        assert_same(reader.read(["kernel", "packed"]), expected)
        with pytest.raises(UnsupportedError, match=r"'label'.*a type that torch lacks"):
            reader.read(["label"])
        with pytest.raises(CorruptFileError, match="cannot be read"):
            reader.read(["layer"])
