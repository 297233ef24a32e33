"""Queries that are timed one by one, and what a record says of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


def timed(
    ask: Callable[[Asked], Answer], asked: Sequence[Asked]
) -> tuple[list[Answer], list[float]]:
    """Return the answers, and the seconds that each took."""
    found, taken = [], []
    for one in asked:
        began = time.perf_counter_ns()
        answer = ask(one)
        taken.append((time.perf_counter_ns() - began) / 1e9)
        found.append(answer)
    return found, taken


def latencies(taken: Sequence[float]) -> dict[str, float]:
    """Return number, median, 99th percentile and mean of the seconds of queries, and their rate."""
    ordered = sorted(taken)
    return {
        "queries": len(ordered),
        "p50_seconds": statistics.median(ordered),
        "p99_seconds": ordered[len(ordered) * 99 // 100],
        "mean_seconds": statistics.fmean(ordered),
        "queries_per_second": 1 / statistics.fmean(ordered),
    }
