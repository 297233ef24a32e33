"""What cannot serve as the data of a search."""

from __future__ import annotations

from bench_core.errors import BenchCoreError


class DataError(BenchCoreError, ValueError):
    """A data set that is missing, empty, unlabelled, or otherwise not what was asked for."""
