"""Cache states: what `prepare` makes of real files, and what counts as proof."""

from __future__ import annotations

import mmap
import os
import sys
from pathlib import Path
from typing import Any

import pytest

import prevent_caching.client
from harness import cache, counters
from harness.cache import CacheBefore, CacheState, prepare, prove
from harness.errors import InputError, RefusedError
from prevent_caching.client import DropResult
from prevent_caching.errors import DropRefused
from prevent_caching.eviction import evict
from prevent_caching.file_system import kind
from prevent_caching.residency import resident_fraction

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mincore needs Linux")

SIZE = 2 << 20
MEMORY = Path("/dev/shm")


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    found = kind(tmp_path)
    if not found.has_page_cache_drop:
        pytest.skip(found.reason)
    return tmp_path


@pytest.fixture
def in_memory(tmp_path: Path) -> Path:
    if not MEMORY.is_dir() or kind(MEMORY).name != "tmpfs" or not os.access(MEMORY, os.W_OK):
        pytest.skip(f"{MEMORY} is no tmpfs that can be written")
    return MEMORY


def make(folder: Path, name: str = "file", size: int = SIZE) -> Path:
    path = folder / name
    path.write_bytes(os.urandom(size))
    return path


def read_counting(path: Path) -> int:
    before = counters.snapshot()
    path.read_bytes()
    return int(counters.difference(before, counters.snapshot())["read_bytes"])


def test_cold_file_is_cold_and_proved_by_reading_it(disk: Path) -> None:
    path = make(disk)
    before = prepare([path], CacheState.COLD_FILE)
    assert before.resident == 0.0 and before.file_bytes == SIZE
    proof = prove(before, read_counting(path), SIZE)
    assert proof.proved and proof.reason is None
    assert proof.as_dict() == {
        "state": "cold_file",
        "proved": True,
        "resident_before": 0.0,
        "read_bytes": proof.read_bytes,
        "needed_bytes": SIZE,
    }


def test_a_file_read_behind_the_clocks_back_is_not_proved(disk: Path) -> None:
    path = make(disk)
    before = prepare([path], "cold_file")
    path.read_bytes()
    proof = prove(before, read_counting(path), None)
    assert not proof.proved
    assert proof.needed_bytes == SIZE
    assert "0 bytes came from the device, 95% of the 2097152 needed" in str(proof.reason)


def test_mapped_pages_stay_and_the_process_that_maps_them_is_named(disk: Path) -> None:
    path = make(disk)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        sum(view[:: mmap.PAGESIZE])
        before = prepare([path], "cold_file")
        proof = prove(before, SIZE, SIZE)
    assert before.resident == 1.0
    assert not proof.proved
    assert f"mapped by process {os.getpid()}" in str(proof.reason)


def test_warm_is_read_through(disk: Path) -> None:
    path = make(disk)
    evict(path)
    before = prepare([path], "warm")
    assert before.resident == 1.0 and resident_fraction(path) == 1.0
    assert prove(before, 0, SIZE).proved


def test_dirty_warm_is_as_written_and_not_when_it_was_evicted(disk: Path) -> None:
    path = make(disk)
    assert prove(prepare([path], "dirty_warm"), 0, SIZE).proved
    evict(path)
    proof = prove(prepare([path], "dirty_warm"), SIZE, SIZE)
    assert not proof.proved and "0.0% of the pages is resident" in str(proof.reason)


def test_direct_needs_no_eviction_but_bytes_from_the_device(disk: Path) -> None:
    path = make(disk)
    before = prepare([path], "direct")
    assert before.resident == 1.0
    assert prove(before, SIZE, SIZE).proved
    assert not prove(before, 0, SIZE).proved


def test_a_folder_stands_for_its_files_and_small_ones_weigh_little(disk: Path) -> None:
    (disk / "model" / "inner").mkdir(parents=True)
    large = make(disk / "model", "large")
    make(disk / "model" / "inner", "small", 10)
    make(disk / "model", "empty", 0)
    evict(large)
    before = prepare([disk / "model"], "dirty_warm")
    assert before.file_bytes == SIZE + 10
    assert before.resident == pytest.approx(1 / (SIZE // mmap.PAGESIZE + 1))


@pytest.mark.parametrize("state", ["cold_file", "cold_host", "direct"])
def test_memory_file_systems_are_refused_where_cold_means_nothing(
    in_memory: Path, state: str
) -> None:
    path = in_memory / f"bench-core-test-{os.getpid()}"
    path.write_bytes(b"x" * 4096)
    try:
        with pytest.raises(RefusedError, match=f"{state} means nothing here: tmpfs"):
            prepare([path], state)
        assert prove(prepare([path], "warm"), 0, 4096).proved
    finally:
        path.unlink()


def answer(monkeypatch: pytest.MonkeyPatch, same_kernel: bool | None) -> None:
    result = DropResult("host", 0.1, "id", 3, same_kernel)
    monkeypatch.setattr(prevent_caching.client, "request_drop", lambda: result)


def test_cold_host_says_who_dropped_the_cache(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(disk)
    evict(path)
    answer(monkeypatch, same_kernel=True)
    proof = prove(prepare([path], "cold_host"), SIZE, SIZE)
    assert proof.proved and proof.how == "host" and proof.as_dict()["how"] == "host"


def test_a_drop_that_dropped_nothing_is_found_out(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(disk)
    answer(monkeypatch, same_kernel=True)
    proof = prove(prepare([path], "cold_host"), SIZE, SIZE)
    assert not proof.proved and proof.resident_before == 1.0


def test_a_host_below_a_guest_leaves_the_guests_cache_to_us(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(disk)
    answer(monkeypatch, same_kernel=False)
    assert prepare([path], "cold_host").resident == 0.0


def test_a_refused_drop_refuses_the_case(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> DropResult:
        raise DropRefused("no watcher answers")

    monkeypatch.setattr(prevent_caching.client, "request_drop", refuse)
    with pytest.raises(RefusedError, match="cold_host: no watcher answers"):
        prepare([make(disk)], "cold_host")


def before(state: CacheState, **fields: Any) -> CacheBefore:
    return CacheBefore(state, **{"file_bytes": 1000, "resident": 0.0, **fields})


@pytest.mark.parametrize(
    ("found", "read_bytes", "needed", "proved"),
    [
        (before(CacheState.COLD_FILE), 950, 1000, True),
        (before(CacheState.COLD_FILE), 949, 1000, False),
        (before(CacheState.COLD_FILE), 99, 100, True),
        (before(CacheState.COLD_FILE), 99, None, False),
        (before(CacheState.COLD_FILE), None, 1000, False),
        (before(CacheState.COLD_FILE, doubt="mapped"), 1000, 1000, False),
        (before(CacheState.DIRECT, resident=1.0), 1000, 1000, True),
        (before(CacheState.DIRECT, resident=1.0), 0, 1000, False),
        (before(CacheState.WARM, resident=1.0), 0, 1000, True),
        (before(CacheState.WARM, resident=1.0), None, None, True),
        (before(CacheState.DIRECT, file_bytes=0, resident=None), 0, None, True),
    ],
)
def test_what_counts_as_proof(
    found: CacheBefore, read_bytes: int | None, needed: int | None, proved: bool
) -> None:
    proof = prove(found, read_bytes, needed)
    assert proof.proved is proved
    assert (proof.reason is None) is proved


def test_cold_without_files_is_never_proved() -> None:
    proof = prove(prepare([], "cold_file"), 10**9, 10**9)
    assert not proof.proved and "names no files" in str(proof.reason)


def test_warm_without_files_has_nothing_to_prove() -> None:
    assert prove(prepare([], "warm"), 0, None).proved


def test_missing_files_and_unknown_states_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent does not exist"):
        prepare([tmp_path / "absent"], "warm")
    with pytest.raises(InputError, match="unknown cache state 'cold'; choose one of dirty_warm"):
        prepare([], "cold")


def test_elsewhere_than_on_linux_cold_is_refused_and_warm_unproved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path, size=4096)
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(RefusedError, match="needs Linux"):
        prepare([path], "cold_file")
    proof = prove(prepare([path], "warm"), None, 4096)
    assert not proof.proved and "residency is unknown" in str(proof.reason)


def test_thresholds_are_those_of_the_measurement_contract() -> None:
    assert (cache.COLD_AT_MOST, cache.READ_AT_LEAST, cache.WARM_AT_LEAST) == (0.01, 0.95, 0.99)
