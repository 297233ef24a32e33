"""Residency: what mincore says of a part of a file decides how it is read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from loading_cache import evict_or_skip

from bench_core.formats.direct.open_file import OpenFile
from bench_core.layer_loading import mapped, residency
from bench_core.layer_loading.residency import resident_fraction

MIB = 1 << 20


@pytest.fixture
def half_warm(tmp_path: Path) -> Iterator[OpenFile]:
    """24 MiB of which the first 12 are in the page cache."""
    path = tmp_path / "file"
    path.write_bytes(os.urandom(24 * MIB))
    evict_or_skip(path)
    file = OpenFile(path)
    file.advise("RANDOM")
    os.pread(file.descriptor, 12 * MIB, 0)
    yield file
    file.close()


def test_each_range_is_looked_at(half_warm: OpenFile) -> None:
    assert resident_fraction(half_warm, [(0, 12 * MIB)]) == 1.0
    assert resident_fraction(half_warm, [(12 * MIB, 24 * MIB)]) == 0.0
    assert resident_fraction(half_warm, [(11 * MIB, 13 * MIB)]) == pytest.approx(0.5)
    assert resident_fraction(half_warm, [(5, 4101), (20 * MIB + 5, 20 * MIB + 4101)]) == 0.5


def test_a_sample_of_a_large_file_is_spread_evenly(half_warm: OpenFile) -> None:
    assert resident_fraction(half_warm, [(0, 24 * MIB)]) == pytest.approx(0.5, abs=0.05)
    many = [(i * 16384, i * 16384 + 12000) for i in range(24 * MIB // 16384)]
    assert resident_fraction(half_warm, many) == pytest.approx(0.5, abs=0.05)


def test_the_sample_is_small(half_warm: OpenFile, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(residency, "_mincore", lambda: lambda _, n, __: asked.append(n) or 0)
    resident_fraction(half_warm, [(0, 24 * MIB)])
    assert len(asked) <= 17
    assert sum(asked) <= 17 * (64 << 10)
    del asked[:]
    resident_fraction(half_warm, [(i * 16384, i * 16384 + 12000) for i in range(1500)])
    assert len(asked) <= 17


def test_nothing_asked_for_is_warm(half_warm: OpenFile) -> None:
    assert resident_fraction(half_warm, []) == 1.0


def test_where_the_kernel_does_not_say_the_cache_is_used(
    half_warm: OpenFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(residency, "_mincore", lambda: None)
    assert resident_fraction(half_warm, [(12 * MIB, 24 * MIB)]) == 1.0
    monkeypatch.setattr(residency, "_mincore", lambda: lambda *_: -1)
    assert resident_fraction(half_warm, [(12 * MIB, 24 * MIB)]) == 1.0


def test_a_file_that_cannot_be_mapped_is_taken_for_warm(
    half_warm: OpenFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapped, "_functions", lambda: (lambda *_: mapped._FAILED, None))
    assert resident_fraction(half_warm, [(12 * MIB, 24 * MIB)]) == 1.0
