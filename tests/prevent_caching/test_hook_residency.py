"""Residency and eviction on real files."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from prevent_caching import residency as residency_module
from prevent_caching.errors import EvictionRefused, ResidencyUnknownError
from prevent_caching.eviction import evict, why_resident
from prevent_caching.residency import Residency, residency, resident_fraction

PAGE = mmap.PAGESIZE


def write(path: Path, size: int) -> Path:
    path.write_bytes(os.urandom(size))
    return path


def test_a_written_file_is_resident_and_an_evicted_one_is_not(disk: Path) -> None:
    file = write(disk / "file", 40 * PAGE + 1)
    assert residency(file) == Residency(41, 41)
    assert evict(file) == 0.0
    assert residency(file) == Residency(41, 0)


def test_asking_reads_nothing(disk: Path) -> None:
    file = write(disk / "file", 64 * PAGE)
    evict(file)
    assert [resident_fraction(file) for _ in range(3)] == [0.0, 0.0, 0.0]


def test_a_part_is_told_from_the_whole(disk: Path) -> None:
    file = write(disk / "file", 4096 * PAGE)
    evict(file)
    with file.open("rb") as stream:
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        os.pread(stream.fileno(), PAGE, 2000 * PAGE)
    assert residency(file, 2000 * PAGE, PAGE) == Residency(1, 1)
    assert residency(file, 1000 * PAGE, 10 * PAGE) == Residency(10, 0)
    assert 0.0 < resident_fraction(file) < 0.5


def test_a_range_covers_every_page_that_it_touches(disk: Path) -> None:
    file = write(disk / "file", 8 * PAGE)
    assert residency(file, PAGE - 1, 2).pages == 2
    assert residency(file, 7 * PAGE, 100 * PAGE).pages == 1
    assert residency(file, 8 * PAGE).pages == 0


def test_windows_add_up(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(disk / "file", 10 * PAGE + 5)
    monkeypatch.setattr(residency_module, "WINDOW_BYTES", 4 * PAGE)
    assert residency(file) == Residency(11, 11)
    evict(file)
    assert residency(file) == Residency(11, 0)


def test_a_sparse_file_larger_than_a_window_is_not_resident(disk: Path) -> None:
    file = disk / "sparse"
    with file.open("wb") as stream:
        stream.truncate(3 << 30)
    assert residency(file) == Residency((3 << 30) // PAGE, 0)


def test_an_empty_file_is_cold(disk: Path) -> None:
    file = write(disk / "empty", 0)
    assert resident_fraction(file) == 0.0
    assert evict(file) == 0.0


@pytest.mark.parametrize("name", ["directory", "fifo"])
def test_only_regular_files_have_a_residency(tmp_path: Path, name: str) -> None:
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    # A FIFO opened for reading would wait for a writer: keep one.
    keeper = os.open(tmp_path / "fifo", os.O_RDWR)
    with pytest.raises(ResidencyUnknownError, match="not a regular file"):
        residency(tmp_path / name)
    os.close(keeper)


def test_pages_that_the_kernel_hides_are_not_taken_for_resident(
    public_directory: Path, as_nobody: Callable[[Callable[[], object]], str]
) -> None:
    file = write(public_directory / "of-root", PAGE)
    file.chmod(0o644)
    assert as_nobody(lambda: resident_fraction(file)).startswith(
        "ResidencyUnknownError: the kernel hides"
    )
    file.chmod(0o666)
    assert as_nobody(lambda: resident_fraction(file)) == "1.0"


def test_dirty_pages_are_written_before_they_are_dropped(disk: Path) -> None:
    content = os.urandom(100 * PAGE)
    file = disk / "dirty"
    file.write_bytes(content)
    assert evict(file) == 0.0
    assert file.read_bytes() == content


def test_mapped_pages_stay_and_the_process_is_named(disk: Path) -> None:
    file = write(disk / "mapped", 16 * PAGE)
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert len(mapped[::PAGE]) == 16
        assert evict(file) == 1.0
        assert why_resident(file) == f"{file} is mapped by process {os.getpid()}: unmap or end it"
    assert evict(file) == 0.0
    assert "no process visible here maps" in why_resident(file)


def test_a_memory_file_system_is_refused() -> None:
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK):
        pytest.skip("/dev/shm is not writable")
    with pytest.raises(EvictionRefused, match=r"tmpfs at .* keeps its files in memory"):
        evict(shared / "prevent-caching-test")
