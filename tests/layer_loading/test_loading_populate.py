"""The policy populate: mapped tensors whose every byte is in memory when the load returns."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch
from loading_cache import evict_or_skip

from bench_core.errors import CorruptFileError
from bench_core.formats.direct import Direct
from bench_core.formats.direct.open_file import OpenFile
from bench_core.layer_loading import load, load_timed, populating
from bench_core.layer_loading.mapped import MappedReader
from bench_core.layer_loading.residency import resident_fraction

SIZES = {"small": 10, "large": 3 << 20, "odd": 4097, "other": 1 << 20}
"""Elements of float32; ``large`` is read in several parts."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    Direct().write({name: torch.randn(size) for name, size in SIZES.items()}, path)
    return path


def resident(path: Path, name: str) -> float:
    with Direct().open(path) as reader:
        entry = reader.header.entries[name]
    file = OpenFile(path)
    try:
        return resident_fraction(file, [(entry.begin, entry.end)])
    finally:
        file.close()


def test_what_is_asked_for_is_there_and_the_rest_is_left(path: Path) -> None:
    expected = load(path, policy="pread")
    evict_or_skip(path)
    found, result = load_timed(path, ["large"], policy="populate")
    assert result.policy == "populate"
    assert resident(path, "large") == 1.0
    assert resident(path, "other") < 1.0
    assert torch.equal(found["large"], expected["large"])


def test_where_the_kernel_cannot_each_page_is_touched(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = load(path, policy="pread")
    evict_or_skip(path)
    monkeypatch.setattr(populating, "_madvise", lambda: None)
    found = load(path, policy="populate")
    assert all(resident(path, name) == 1.0 for name in SIZES)
    assert all(torch.equal(found[name], expected[name]) for name in SIZES)


def test_each_page_is_read_once_whatever_the_order() -> None:
    page, part = 4096, populating._PART_BYTES
    ranges = [(part + 5, 2 * part), (10, 20), (30, page + 1), (page + 7, page + 9)]
    assert list(populating._parts(ranges)) == [
        (0, 20),
        (page, page + 1),
        (part, 2 * part),
    ]


def test_a_file_that_shrank_is_an_error_and_not_the_end_of_the_process(path: Path) -> None:
    reader = MappedReader(OpenFile(path), populates=True)
    os.truncate(path, 8192)
    with pytest.raises(CorruptFileError, match="truncated meanwhile"):
        reader.read(["large"])
    reader.close()


def test_of_a_slice_its_own_range_is_there(path: Path) -> None:
    expected = load(path, policy="pread")["large"]
    evict_or_skip(path)
    with MappedReader(OpenFile(path), populates=True) as reader:
        found = reader.read_slice("large", (slice(1 << 20, 2 << 20, 2),))
    entry, file = reader.header.entries["large"], OpenFile(path)
    thirds = [entry.begin + (i << 22) for i in range(4)]
    inside = resident_fraction(file, [(thirds[1], thirds[2])])
    outside = resident_fraction(file, [(thirds[0], thirds[1] - (1 << 20))])
    file.close()
    assert inside == 1.0
    assert outside < 1.0
    assert torch.equal(found, expected[1 << 20 : 2 << 20 : 2])


def test_a_device_that_fails_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(populating, "_populated", lambda address, nbytes: errno.EFAULT)
    with pytest.raises(OSError, match="Input/output error") as failed:
        load(path, policy="populate")
    assert failed.value.errno == errno.EIO
    assert failed.value.filename == str(path)
