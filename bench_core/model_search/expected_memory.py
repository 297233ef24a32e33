"""How much memory a search will take for blocks and intermediate results, by engine."""

from __future__ import annotations

from collections.abc import Sequence

from bench_core.model_search.candidates import Candidates
from bench_core.model_search.expected_work import (
    ExpectedRound,
    Sizes,
    expected_rounds,
    first_plan,
    model_bytes,
    tree_of,
)
from bench_core.model_search.planning import simulate
from bench_core.model_search.published_plan import PublishedPlan, published_plan
from bench_core.model_search.settings import Settings
from bench_core.models.chains.resources import BlockResources


def expected_memory(
    candidates: Candidates, sizes: Sizes, settings: Settings, decoded_bytes: int
) -> tuple[int, int]:
    """Return the peak bytes of the first round, and in how many chunks it goes through the models.

    Without features, and without the scratch memory of convolutions and matrix products.

    Args:
        candidates: the models.
        sizes: of data and budget.
        settings: of the search.
        decoded_bytes: of an item as it is kept where it is used again.

    Raises:
        BudgetError: too little memory; the text says the least that works.
        SearchError: fewer items than the rounds need.
    """
    rounds = expected_rounds(len(candidates), sizes, settings)
    largest = max(len(batch) for found in rounds for batch in found.batches)
    if settings.engine in ("base", "shift"):
        return max(_alone(candidates, model, largest) for model in rounds[0].live), 1
    if settings.engine == "base_tuned":
        return _tuned(candidates, rounds[0], largest, sizes, decoded_bytes), 1
    if settings.engine == "alsatian":
        work = tree_of(candidates, rounds[0].live)
        published = published_plan(work, rounds[0].batches, sizes.budget)
        return _published(published, largest, candidates.input_bytes), len(published.chunks)
    plan = first_plan(candidates, rounds, sizes.budget)
    distinct = sum(block.nbytes for block in candidates.blocks.values())
    return plan.activation_bytes + min(distinct, plan.block_budget), len(plan.chunks)


def _alone(candidates: Candidates, model: int, batch: int) -> int:
    """Return the peak of a model that is read beside the one that it is copied into."""
    nbytes = model_bytes(candidates, model)
    return max(2 * nbytes, nbytes + _running(candidates, model) * batch)


def _tuned(
    candidates: Candidates, found: ExpectedRound, batch: int, sizes: Sizes, decoded_bytes: int
) -> int:
    """Return the peak of one model, a batch of inputs ahead, and the items that come again."""
    alone = max(
        model_bytes(candidates, model) + _running(candidates, model) * batch for model in found.live
    )
    kept = min(decoded_bytes * found.n_items, sizes.budget) if len(found.live) > 1 else 0
    return alone + candidates.input_bytes * batch + kept


def _running(candidates: Candidates, model: int) -> int:
    """Return the bytes an item while a model runs: its input, which stays, and one block's work."""
    blocks = [candidates.resources[key] for key in candidates.keys[model]]
    return candidates.input_bytes + _working(blocks)


def _working(blocks: Sequence[BlockResources]) -> int:
    most = before = 0
    for needs in blocks:
        most = max(most, before + needs.working_bytes)
        before = needs.output_bytes
    return most


def _published(plan: PublishedPlan, batch: int, input_bytes: int) -> int:
    """Return the peak of Alsatian's walk: blocks of one unit, of two while the next are read."""
    tree, steps = plan.work.tree, plan.schedule.steps
    items = max(sum(map(len, chunk)) for chunk in plan.chunks)
    # The schedule's own peak counts features, too, which are told apart here.
    kept = simulate(tree, plan.work.output_bytes, [0] * len(tree.units), steps)
    peak = before = blocks = 0
    for step, after in zip(steps, kept, strict=True):
        if step.kind == "compute":
            unit = tree.units[step.unit]
            last, blocks = blocks, plan.work.block_bytes(unit)
            work = plan.work.working_bytes_of(unit) + (input_bytes if unit.parent < 0 else 0)
            peak = max(peak, before * items + last + blocks, after * items + work * batch + blocks)
        before = after
    return peak
