"""Counters: what is counted, over which processes, and what is left out where it is not."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness import counters

MIB = 1 << 20

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/self/io")


def counted(work: Callable[[], object]) -> dict[str, float]:
    before = counters.snapshot()
    work()
    return counters.difference(before, counters.snapshot())


@on_linux
def test_bytes_of_calls_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "file"
    written = counted(lambda: path.write_bytes(os.urandom(4 * MIB)))
    read = counted(path.read_bytes)
    assert 4 * MIB <= written["wchar"] < 4.1 * MIB
    assert 4 * MIB <= read["rchar"] < 4.1 * MIB


@on_linux
def test_bytes_from_the_device_are_counted_only_when_it_is_read(tmp_path: Path) -> None:
    from prevent_caching.eviction import evict
    from prevent_caching.file_system import kind

    if not kind(tmp_path).has_page_cache_drop:
        pytest.skip(kind(tmp_path).reason)
    path = tmp_path / "file"
    path.write_bytes(os.urandom(4 * MIB))
    evict(path)
    cold, warm = counted(path.read_bytes), counted(path.read_bytes)
    assert cold["read_bytes"] >= 4 * MIB
    assert warm["read_bytes"] < MIB


@on_linux
def test_children_count_once_they_are_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(8 * MIB))
    code = f"open({str(path)!r}, 'rb').read(); sum(range(3_000_000))"
    found = counted(lambda: subprocess.run([sys.executable, "-S", "-c", code], check=True))
    assert found["rchar"] >= 8 * MIB
    assert found["user_seconds"] > 0.01
    assert found["minor_faults"] > 8 * MIB / 4096 / 2


@on_linux
def test_a_forked_child_counts_for_itself(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(16 * MIB))
    path.read_bytes()
    assert (counters.snapshot().rchar or 0) >= 16 * MIB
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, str(counters.snapshot().rchar).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        assert int(pipe.read()) < 16 * MIB
    assert os.waitpid(child, 0)[1] == 0


@on_linux
def test_the_peak_is_that_of_the_interval() -> None:
    if not counters.reset_peaks():
        pytest.skip("/proc/self/clear_refs cannot be written here")
    # Above malloc's largest threshold for mapping, so that freeing gives the pages back at once.
    large = counted(lambda: b"x" * (96 * MIB))
    gc.collect()
    assert counters.reset_peaks()
    small = counted(lambda: b"x" * (4 * MIB))
    # The kernel adds up its counts of pages per CPU, so that some hundred are missing at times.
    assert 94 * MIB <= large["peak_rss_growth_bytes"] < 112 * MIB
    assert small["peak_rss_growth_bytes"] < 32 * MIB
    assert small["peak_rss_bytes"] < large["peak_rss_bytes"]


@on_linux
def test_snapshots_leak_no_descriptors() -> None:
    counters.snapshot()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(50):
        counters.snapshot()
        counters.reset_peaks()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_what_is_not_counted_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "_proc_file", lambda name, pid: None)
    found = counted(lambda: sum(range(1000)))
    assert "read_bytes" not in found and "peak_rss_growth_bytes" not in found
    assert found["peak_rss_bytes"] > 0 and found["user_seconds"] >= 0


def test_differences_are_literal() -> None:
    before = counters.Counters(rchar=10, minor_faults=5, user_seconds=1.0, rss_bytes=100)
    after = counters.Counters(
        rchar=30,
        write_bytes=7,
        minor_faults=6,
        user_seconds=1.5,
        peak_rss_bytes=150,
        cuda_max_allocated_bytes=9,
    )
    assert counters.difference(before, after) == {
        "rchar": 20,
        "minor_faults": 1,
        "user_seconds": 0.5,
        "peak_rss_bytes": 150,
        "peak_rss_growth_bytes": 50,
        "cuda_max_allocated_bytes": 9,
    }


def test_the_cuda_peak_is_read_when_cuda_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    resets: list[str] = []
    statistics = {"allocated_bytes": {"all": {"peak": 12345, "current": 1}}}
    cuda = SimpleNamespace(
        is_initialized=lambda: True,
        memory_stats_as_nested_dict=lambda: statistics,
        reset_peak_memory_stats=lambda: resets.append("reset"),
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert counters.snapshot().cuda_max_allocated_bytes == 12345
    counters.reset_peaks()
    assert resets == ["reset"]
