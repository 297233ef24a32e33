"""A round's plan: the number of chunks that reads least, found without trying what cannot win."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_residency import plain_residency
from search_sets import WIDTH, chains, items

from bench_core.model_search import BudgetError, SearchError
from bench_core.model_search import plan as plan_module
from bench_core.model_search.batches import Batch, cut
from bench_core.model_search.candidates import Candidates
from bench_core.model_search.plan import Plan, plan_round
from bench_core.model_search.planning import ExecutionTree, PrefixTree, best_order
from bench_core.model_search.residency import Move, loaded_bytes, plan_residency
from bench_core.model_search.units_of_work import UnitsOfWork
from bench_core.models.chains import BlockSpec, InputSpec
from bench_core.snapshots import BlockRef, Snapshot

BLOCK_BYTES = 400
BATCH = 4
MODELS = [(0, *range(10 * model, 10 * model + 8)) for model in range(1, 21)]


def snapshots(models: Sequence[Sequence[int]]) -> list[Snapshot]:
    """Return models of linear layers, a row of seeds each, that are nowhere stored."""
    spec = BlockSpec.of("mlp.dense", inputs=WIDTH, outputs=WIDTH)
    refs = {seed: BlockRef(spec, f"{seed:032x}", BLOCK_BYTES + seed) for m in models for seed in m}
    taken = InputSpec("vector", (WIDTH,))
    return [
        Snapshot(f"m{index}", "mlp", tuple(refs[seed] for seed in model), taken, WIDTH)
        for index, model in enumerate(models)
    ]


def work_of(models: Sequence[Sequence[int]]) -> tuple[UnitsOfWork, Candidates]:
    candidates = Candidates.of(snapshots(models), items(60))
    return UnitsOfWork(ExecutionTree.of(PrefixTree.of(candidates.keys)), candidates), candidates


def plain_choice(
    work: UnitsOfWork, batches: Sequence[Batch], budget: int, resident: Mapping[str, int]
) -> tuple[int, int, int] | None:
    """Return items of a chunk, bytes read and bytes for blocks, by trying all chunks."""
    units, input_bytes = work.tree.units, 4 * WIDTH
    schedule = best_order(work.tree, work.output_bytes, [0] * len(units))
    order = [units[step.unit] for step in schedule.steps if step.kind == "compute"]
    groups = [[ref.key for ref in work.blocks(unit)] for unit in order]
    sizes = {ref.key: ref.nbytes for unit in units for ref in work.blocks(unit)}
    found = []
    for power in range((len(batches) - 1).bit_length() + 1):
        n_chunks = -(-len(batches) // 2**power)
        chunk = min(2**power, len(batches)) * BATCH
        ready = 2 * BATCH + (chunk if len(work.tree.roots) > 1 else 0)
        taken = schedule.peak * chunk + work.working_bytes * BATCH + input_bytes * ready
        both = {**resident, **sizes}
        try:
            moves = plain_residency(groups * n_chunks, both, budget - taken, resident)
        except BudgetError:
            continue
        found.append((loaded_bytes(moves, both), chunk, budget - taken))
    if not found:
        return None
    is_read = any(key not in resident for key in sizes)
    loaded, chunk, left = min(found, key=lambda it: (it[0], -it[1] if is_read else it[1]))
    return chunk, loaded, left


@given(
    models=st.lists(chains, min_size=1, max_size=6),
    n_batches=st.integers(1, 9),
    budget=st.integers(500, 7000),
    data=st.data(),
)
@settings(deadline=None, max_examples=150)
def test_the_chosen_chunks_are_those_of_trying_all(
    models: list[tuple[int, ...]], n_batches: int, budget: int, data: st.DataObject
) -> None:
    work, candidates = work_of(models)
    known = {key: ref.nbytes for key, ref in candidates.blocks.items()} | {"another": 300}
    resident = {key: known[key] for key in data.draw(st.sets(st.sampled_from(sorted(known))))}
    batches = cut("train", 0, n_batches * BATCH, BATCH)
    expected = plain_choice(work, batches, budget, resident)
    try:
        plan = plan_round(work, batches, candidates.input_bytes, BATCH, budget, resident)
    except BudgetError:
        assert expected is None
        return
    assert [batch for chunk in plan.chunks for batch in chunk] == batches
    assert (sum(map(len, plan.chunks[0])), plan.loaded, plan.block_budget) == expected


def test_a_hundred_batches_are_not_tried_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    simulated: list[int] = []

    def counted(groups: Sequence[Sequence[str]], *given: object) -> list[Move]:
        simulated.append(len(groups))
        return plan_residency(groups, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(plan_module, "plan_residency", counted)
    work, candidates = work_of(MODELS)
    batches = cut("train", 0, 100 * BATCH, BATCH)

    def planned(budget: int, resident: Mapping[str, int]) -> Plan:
        return plan_round(work, batches, candidates.input_bytes, BATCH, budget, resident)

    blocks = {key: ref.nbytes for key, ref in candidates.blocks.items()}
    some = planned(sum(blocks.values()) // 5, {})
    assert 1 < len(some.chunks) < 20
    assert sum(simulated) <= 2 * len(some.groups)
    simulated.clear()
    assert len(planned(2 * sum(blocks.values()), blocks).chunks) == 100
    assert not simulated


class CountedKey(str):
    """A block's key that counts how often any is looked up."""

    __slots__ = ()
    looked_up = 0

    def __hash__(self) -> int:
        CountedKey.looked_up += 1
        return super().__hash__()


def test_planning_residency_takes_as_long_as_there_are_uses() -> None:
    def looked_up(n_blocks: int) -> int:
        keys = [CountedKey(number) for number in range(n_blocks)]
        groups = [keys[i : i + 5] for i in range(0, n_blocks, 5)] * 2
        CountedKey.looked_up = 0
        moves = plan_residency(groups, dict.fromkeys(keys, 1), n_blocks // 2)
        assert sum(len(move.evict) for move in moves) > n_blocks // 2
        return CountedKey.looked_up

    assert looked_up(4000) < 5 * looked_up(1000)


def test_names_are_compared_once() -> None:
    class CountedName(str):
        __slots__ = ()
        compared = 0
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            CountedName.compared += 1
            return str.__eq__(self, other)

    models = [
        Snapshot(CountedName(f"m{i}"), s.architecture, s.blocks, s.input, s.feature_dim)
        for i, s in enumerate(snapshots([(0,)] * 200))
    ]
    Candidates.of(models, items(60))
    assert CountedName.compared < 400
    with pytest.raises(SearchError, match="two models are named m7"):
        Candidates.of([*models, models[7]], items(60))
