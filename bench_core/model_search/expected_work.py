"""What a search will do, counted before it starts: by engine, without a clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from bench_core.model_search.batches import Batch, batches_of
from bench_core.model_search.candidates import Candidates
from bench_core.model_search.engines import engine_class
from bench_core.model_search.halving import Round, plan_rounds
from bench_core.model_search.plan import Plan, plan_round
from bench_core.model_search.planning import ExecutionTree, PrefixTree, borders_of
from bench_core.model_search.published_plan import least_budget, published_plan
from bench_core.model_search.rates import distinct_runs
from bench_core.model_search.settings import Settings
from bench_core.model_search.units_of_work import UnitsOfWork

OURS: Final = ("shared", "distributed")
"""Engines that read blocks and decode items beside the computation."""


@dataclass
class ExpectedWork:
    """Of all rounds; which models survive is not known, so evenly spread ones count.

    The names are those of `meter.Count`, and so are the meanings.
    """

    block_items: Counter[str] = field(default_factory=Counter)
    """By a block's key: items that run through it."""
    bytes_loaded: int = 0
    bytes_initialised: int = 0
    """Of modules that get random values before they are overwritten."""
    items_decoded: int = 0
    inputs_made: int = 0
    fits: list[tuple[int, int]] = field(default_factory=list)
    """Of each round: models that are scored, and training items that they are scored by."""

    @property
    def item_blocks(self) -> int:
        """Items times blocks."""
        return self.block_items.total()


@dataclass(frozen=True)
class Sizes:
    """How much a search is given."""

    n_train: int
    n_test: int
    budget: int
    """Bytes for blocks and intermediate results, of one worker."""


@dataclass(frozen=True)
class ExpectedRound:
    """A round as it is foreseen."""

    round: Round
    live: tuple[int, ...]
    """The models in it."""
    batches: tuple[Batch, ...]

    @property
    def n_items(self) -> int:
        """Items that it adds."""
        return sum(map(len, self.batches))

    @property
    def n_splits(self) -> int:
        """In how many of test and training items there are batches."""
        return len({batch.split for batch in self.batches})


def expected_rounds(n_models: int, sizes: Sizes, settings: Settings) -> list[ExpectedRound]:
    """Return the rounds; as survivors count models at equal distances, so that families last.

    Raises:
        SearchError: fewer items than the rounds need.
    """
    rounds = plan_rounds(n_models, sizes.n_train, settings.halving)
    return [
        ExpectedRound(
            round_,
            tuple(place * n_models // round_.n_models for place in range(round_.n_models)),
            tuple(batches_of(round_, sizes.n_test, settings.batch_size)),
        )
        for round_ in rounds
    ]


def expected_work(candidates: Candidates, sizes: Sizes, settings: Settings) -> ExpectedWork:
    """Count what a search will do.

    Raises:
        BudgetError: too little memory; the text says the least that works.
        SearchError: fewer items than the rounds need.
    """
    rounds = expected_rounds(len(candidates), sizes, settings)
    work = ExpectedWork()
    for found in rounds:
        if engine_class(settings.engine).shares:
            _add_shared(work, found, candidates, settings.engine)
        else:
            _add_whole(work, found, candidates, settings.engine)
        n_distinct = len({candidates.chains[model] for model in found.live})
        work.fits.append((n_distinct, found.round.stop))
    if settings.engine == "alsatian":
        work.bytes_loaded = _loaded_as_published(candidates, rounds, sizes)
    elif engine_class(settings.engine).shares:
        work.bytes_loaded = _loaded(candidates, rounds, sizes)
    return work


def tree_of(candidates: Candidates, live: Sequence[int]) -> UnitsOfWork:
    """Return the tree of some models, cut as that of all."""
    prefixes = PrefixTree.of(candidates.keys)
    tree = ExecutionTree.of(prefixes.of_models(live), borders_of(prefixes))
    return UnitsOfWork(tree, candidates)


def model_bytes(candidates: Candidates, model: int) -> int:
    """Return the bytes of a model's blocks."""
    return sum(candidates.blocks[key].nbytes for key in candidates.keys[model])


def first_plan(candidates: Candidates, rounds: Sequence[ExpectedRound], budget: int) -> Plan:
    """Return our engine's plan of the first round.

    Raises:
        BudgetError: too little memory.
    """
    return _plan(candidates, rounds[0], rounds, budget)


def _plan(
    candidates: Candidates, found: ExpectedRound, rounds: Sequence[ExpectedRound], budget: int
) -> Plan:
    largest = max(len(batch) for each in rounds for batch in each.batches)
    work = tree_of(candidates, found.live)
    return plan_round(work, found.batches, candidates.input_bytes, largest, budget, {})


def _add_whole(
    work: ExpectedWork, found: ExpectedRound, candidates: Candidates, engine: str
) -> None:
    """Add a round of an engine that shares nothing."""
    n_models, items = len(found.live), found.n_items
    for model in found.live:
        for key in candidates.keys[model]:
            work.block_items[key] += items
    as_published = engine_class(engine).features_on_disk
    # Base and SHiFT come back to every model for the test and for the training items.
    n_loads = found.n_splits if as_published else 1
    loaded = n_loads * sum(model_bytes(candidates, model) for model in found.live)
    work.bytes_loaded += loaded
    work.bytes_initialised += loaded if as_published else 0
    work.items_decoded += items * (n_models if as_published else 1)
    work.inputs_made += items * n_models


def _add_shared(
    work: ExpectedWork, found: ExpectedRound, candidates: Candidates, engine: str
) -> None:
    """Add a round of an engine in which what models share runs once."""
    keys = [candidates.keys[model] for model in found.live]
    for key in distinct_runs(keys):
        work.block_items[key] += found.n_items
    n_roots = len({chain[0] for chain in keys})
    work.inputs_made += found.n_items * n_roots
    # Alsatian decodes anew for every block that starts from the input.
    work.items_decoded += found.n_items * (n_roots if engine == "alsatian" else 1)


def _loaded_as_published(
    candidates: Candidates, rounds: Sequence[ExpectedRound], sizes: Sizes
) -> int:
    prefixes = PrefixTree.of(candidates.keys)
    loaded = 0
    for found in rounds:
        work = UnitsOfWork(ExecutionTree.of(prefixes.of_models(found.live)), candidates)
        budget = sizes.budget
        if found.round.index:
            # Which models are left is a guess, and no reason to refuse.
            budget = max(budget, least_budget(work, found.batches))
        loaded += published_plan(work, found.batches, budget).loaded
    return loaded


def _loaded(candidates: Candidates, rounds: Sequence[ExpectedRound], sizes: Sizes) -> int:
    """Return what our engine reads: all blocks once where they fit, else in each round anew.

    In truth some blocks are still there from the round before, which is not known so far ahead.
    """
    first = first_plan(candidates, rounds, sizes.budget)
    distinct = sum(ref.nbytes for ref in candidates.blocks.values())
    if distinct <= first.block_budget:
        return first.loaded
    later = [_plan(candidates, found, rounds, sizes.budget) for found in rounds[1:]]
    return first.loaded + sum(plan.loaded for plan in later)
