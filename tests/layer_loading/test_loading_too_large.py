"""Files that cannot be mapped, or hardly: what is asked for is read all the same."""

from __future__ import annotations

import errno
import json
import mmap
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bench_core.formats.direct import Direct
from bench_core.layer_loading import load, load_into, load_scattered, load_timed, mapped

HARD_TO_MAP = ("auto", "mmap", "populate")
SMALL = torch.tensor([3, 1, 4, 1], dtype=torch.uint8)


@pytest.fixture
def twice_the_memory(tmp_path: Path) -> Path:
    """A file with a hole of twice the memory, behind which a small tensor lies."""
    hole = 2 * os.sysconf("SC_PHYS_PAGES") * mmap.PAGESIZE
    header = {
        "large": {"dtype": "U8", "shape": [hole], "data_offsets": [0, hole]},
        "small": {"dtype": "U8", "shape": [4], "data_offsets": [hole, hole + 4]},
    }
    text = json.dumps(header).encode()
    path = tmp_path / "model.safetensors"
    try:
        with path.open("wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            file.seek(hole, os.SEEK_CUR)
            file.write(SMALL.numpy().tobytes())
    except OSError as error:
        pytest.skip(f"the temporary folder takes no file so large: {error}")
    return path


@pytest.mark.parametrize("policy", HARD_TO_MAP)
def test_a_small_part_of_a_file_of_twice_the_memory(twice_the_memory: Path, policy: str) -> None:
    small = load(twice_the_memory, ["small"], policy=policy)["small"]
    small[0] += 1
    assert small.tolist() == [4, 1, 4, 1]
    assert load(twice_the_memory, ["small"], policy="pread")["small"].tolist() == [3, 1, 4, 1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    Direct().write({"small": SMALL}, path)
    path.read_bytes()  # warm, so that ``auto`` would map it
    return path


def refuse(monkeypatch: pytest.MonkeyPatch, code: int, protection: int) -> None:
    """Let the kernel refuse maps of this protection."""
    map_, unmap = mapped._functions()

    def refusing(address: Any, size: int, asked: int, *rest: int) -> int:
        if asked & protection:
            mapped.ctypes.set_errno(code)
            return int(mapped._FAILED or 0)
        return int(map_(address, size, asked, *rest))

    functions: Callable[[], Any] = lambda: (refusing, unmap)  # noqa: E731
    monkeypatch.setattr(mapped, "_functions", functions)


@pytest.mark.parametrize("protection", [mmap.PROT_WRITE, mmap.PROT_READ], ids=["writable", "any"])
@pytest.mark.parametrize("code", [errno.ENOMEM, errno.ENODEV], ids=["no room", "not mappable"])
def test_where_a_file_cannot_be_mapped_auto_copies_it(
    path: Path, monkeypatch: pytest.MonkeyPatch, code: int, protection: int
) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    refuse(monkeypatch, code, protection)
    tensors, result = load_timed(path)
    assert result.policy == "pread"
    assert torch.equal(tensors["small"], SMALL)
    assert torch.equal(load_scattered({"small": path})["small"], SMALL)
    into = {"small": torch.zeros_like(SMALL)}
    assert load_into(into, path).policy == "pread"
    assert torch.equal(into["small"], SMALL)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("policy", ["mmap", "populate"])
def test_who_asks_for_a_map_is_told_why_there_is_none(
    path: Path, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    refuse(monkeypatch, errno.ENOMEM, mmap.PROT_WRITE)
    with pytest.raises(OSError, match="cannot be mapped, Cannot allocate memory") as refused:
        load(path, policy=policy)
    assert refused.value.filename == str(path)
