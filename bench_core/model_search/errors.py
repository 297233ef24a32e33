"""What a search refuses, and why."""

from __future__ import annotations

from bench_core.errors import BenchCoreError


class SearchError(BenchCoreError, ValueError):
    """Models, data or settings that no search can be made of."""


class BudgetError(SearchError):
    """The memory budget is below the least that a search needs; the text says how much that is."""
