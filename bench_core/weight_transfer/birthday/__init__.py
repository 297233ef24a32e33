"""How much a new architecture can expect to find among stored ones: closed forms, and trials."""

from __future__ import annotations

from bench_core.weight_transfer.birthday.closed import (
    PrefixEstimate,
    any_two,
    asymptote,
    child,
    estimate,
    several_donors,
    uneven,
    uneven_bound,
)
from bench_core.weight_transfer.birthday.simulated import (
    Trials,
    simulate,
    simulate_child,
    simulate_distinct,
)

__all__ = [
    "PrefixEstimate",
    "Trials",
    "any_two",
    "asymptote",
    "child",
    "estimate",
    "several_donors",
    "simulate",
    "simulate_child",
    "simulate_distinct",
    "uneven",
    "uneven_bound",
]
