"""What a search will take, before it starts: time and memory, from blocks timed on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench_core.model_search.batches import batches_of
from bench_core.model_search.candidates import Candidates
from bench_core.model_search.engines import engine_class
from bench_core.model_search.halving import Round, plan_rounds
from bench_core.model_search.plan import Plan, plan_round
from bench_core.model_search.planning import ExecutionTree, PrefixTree
from bench_core.model_search.rates import BlockRates, distinct_runs
from bench_core.model_search.settings import Settings
from bench_core.model_search.units_of_work import UnitsOfWork


@dataclass(frozen=True)
class Estimate:
    """What a search will take; which models survive is not known, so evenly spread ones count."""

    compute_seconds: float
    """Of all blocks that have to run; reading, decoding and the proxy come on top."""
    distinct_bytes: int
    """Of all distinct blocks."""
    model_bytes: int
    """Of all models, as if none shared a block."""
    peak_bytes: int
    """Blocks and intermediate results, as the plan of the first round has it; the largest model
    for engines that share nothing. What is done ahead of later rounds may take the rest of the
    budget."""
    feature_bytes: int
    """Of all features that are kept at once."""
    n_chunks: int
    """In how many chunks the first round goes through the tree."""


def estimate(
    candidates: Candidates, n_train: int, n_test: int, settings: Settings, rates: BlockRates
) -> Estimate:
    """Estimate a search.

    Raises:
        BudgetError: too little memory; the text says the least that works.
        SearchError: fewer items than the rounds need.
    """
    rounds = plan_rounds(len(candidates), n_train, settings.halving)
    shares = engine_class(settings.engine).shares
    seconds = 0.0
    for round_ in rounds:
        live = _spread(len(candidates), round_.n_models)
        items = sum(map(len, batches_of(round_, n_test, settings.batch_size)))
        seconds += _batch_seconds(candidates, live, rates, shares) * items / rates.batch_size
    distinct = sum(block.nbytes for block in candidates.blocks.values())
    peak, n_chunks = max(snapshot.nbytes for snapshot in candidates.snapshots), 1
    if shares:
        first = _first_plan(candidates, rounds, n_test, settings)
        peak = first.activation_bytes + min(distinct, first.block_budget)
        n_chunks = len(first.chunks)
    return Estimate(
        compute_seconds=seconds,
        distinct_bytes=distinct,
        model_bytes=sum(block.nbytes for s in candidates.snapshots for block in s.blocks),
        peak_bytes=peak,
        feature_bytes=_feature_bytes(candidates, rounds[0].stop + n_test),
        n_chunks=n_chunks,
    )


def _first_plan(
    candidates: Candidates, rounds: Sequence[Round], n_test: int, settings: Settings
) -> Plan:
    """Return our engine's plan of the first round; Alsatian needs at least that much memory."""
    size = settings.batch_size
    return plan_round(
        UnitsOfWork(ExecutionTree.of(PrefixTree.of(candidates.keys)), candidates),
        batches_of(rounds[0], n_test, size),
        candidates.input_bytes,
        max(len(batch) for round_ in rounds for batch in batches_of(round_, n_test, size)),
        settings.bytes_each(),
        {},
    )


def _batch_seconds(
    candidates: Candidates, live: Sequence[int], rates: BlockRates, shares: bool
) -> float:
    keys = [candidates.keys[model] for model in live]
    runs = distinct_runs(keys) if shares else [key for chain in keys for key in chain]
    return sum(rates.seconds[key] for key in runs)


def _spread(n_models: int, n_live: int) -> list[int]:
    return [position * n_models // n_live for position in range(n_live)]


def _feature_bytes(candidates: Candidates, n_items: int) -> int:
    dims = {c: s.feature_dim for c, s in zip(candidates.chains, candidates.snapshots, strict=True)}
    return sum(dims.values()) * n_items * 4
