"""Architecture search by aging evolution whose candidates take over each other's weights."""

from __future__ import annotations

from bench_core.weight_transfer.evolution.aging import AgingEvolution
from bench_core.weight_transfer.evolution.result import Arrival, SearchResult
from bench_core.weight_transfer.evolution.search import search
from bench_core.weight_transfer.evolution.settings import (
    Candidate,
    Evolution,
    MethodRecipe,
    Outcome,
    Setup,
)

__all__ = [
    "AgingEvolution",
    "Arrival",
    "Candidate",
    "Evolution",
    "MethodRecipe",
    "Outcome",
    "SearchResult",
    "Setup",
    "search",
]
