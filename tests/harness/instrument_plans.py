"""A probe that does next to nothing, so that tests of the probes are quick."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import RefusedError
from harness.limits import limit_probe
from harness.limits.scratch import MIB, Point, ScratchFile

TINY = limit_probe.Plan(
    file_bytes=8 * MIB,
    grid=(Point(MIB, 1), Point(MIB, 4)),
    seconds=0.01,
    repeats=1,
    memory_bytes=8 * MIB,
    matmul_size=64,
    fsyncs=2,
)


def use_tiny_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let both plans of the probe be tiny."""
    monkeypatch.setattr(limit_probe, "QUICK", TINY)
    monkeypatch.setattr(limit_probe, "FULL", TINY)
    monkeypatch.setattr(limit_probe, "REFRESH_BYTES", 4 * MIB)
    monkeypatch.setattr(limit_probe, "SHORT_GRID", (Point(MIB, 2),))


def require_direct_io(folder: Path) -> None:
    """Skip where the file system has no direct I/O."""
    try:
        ScratchFile(folder, MIB).close()
    except RefusedError as error:
        pytest.skip(str(error))
