"""The closed forms of an engine's work: against plain counting, and against engines that count."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planned_work import Mode, PlannedWork, planned_work

from bench_core import data
from bench_core.data import SearchData
from bench_core.model_search import SearchResult, search
from bench_core.model_search.batches import batches_of
from bench_core.model_search.halving import Halving, plan_rounds
from bench_core.model_search.planning import PrefixTree
from bench_core.snapshots import SnapshotStore, synthetic_set

N_MODELS = 6
BATCH_SIZE = 8
chain_lists = st.lists(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=5), min_size=1, max_size=10
)


@given(
    chains=chain_lists, batches=st.lists(st.integers(1, 9), max_size=4), passes=st.integers(0, 3)
)
def test_work_is_what_plain_counting_finds(
    chains: list[list[str]], batches: list[int], passes: int
) -> None:
    sizes = {"a": 5, "b": 70, "c": 900}
    tree = PrefixTree.of(chains)
    apart = [key for chain in chains for key in chain]
    together = [p[-1] for p in {tuple(c[: i + 1]) for c in chains for i in range(len(c))}]
    runs: dict[Mode, list[str]] = {"apart": apart, "shared": together, "resident": together}
    for mode, keys in runs.items():
        loaded = sorted(set(keys)) if mode == "resident" else keys
        assert planned_work(tree, batches, sizes, mode, passes) == PlannedWork(
            block_executions=len(keys) * len(batches),
            item_blocks=len(keys) * sum(batches),
            block_loads=len(loaded) * passes,
            bytes_loaded=sum(sizes[key] for key in loaded) * passes,
        )


@given(chains=chain_lists)
def test_all_models_pass_through_the_roots(chains: list[list[str]]) -> None:
    tree = PrefixTree.of(chains)
    through = tree.models_through()
    assert through[tree.depth == 0].sum() == len(chains)
    assert through.sum() == sum(map(len, chains))


def test_the_work_of_rounds_adds_up() -> None:
    assert PlannedWork(1, 2, 3, 4) + PlannedWork(10, 20, 30, 40) == PlannedWork(11, 22, 33, 44)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> SnapshotStore:
    found = SnapshotStore(tmp_path_factory.mktemp("store"))
    synthetic_set(found, "mlp_deep", [1, 2, 0, 3, 1], N_MODELS)
    return found


@pytest.fixture(scope="module")
def vectors() -> SearchData:
    return data.load("vectors", n_train=48, n_test=20, width=64)


def rounds_of(
    result: SearchResult, store: SnapshotStore, items: SearchData, *, halving: Halving | None
) -> Iterator[tuple[PrefixTree, list[int]]]:
    """Yield the tree of each round's models, and the sizes of its batches."""
    names = store.names()
    chains = [[block.key for block in store.snapshot(name).blocks] for name in names]
    whole = PrefixTree.of(chains)
    planned = plan_rounds(len(names), len(items.train), halving)
    for round_, done in zip(planned, result.rounds, strict=True):
        batches = batches_of(round_, len(items.test), BATCH_SIZE)
        models = [scored.model for scored in done.scores]
        yield whole.of_models(models), [len(batch) for batch in batches]


@pytest.mark.parametrize(
    ("engine", "mode", "halving", "passes"),
    [
        ("base", "apart", None, [2]),
        ("base_tuned", "apart", None, [1]),
        ("shift", "apart", Halving(), [2, 1]),
        ("alsatian", "shared", Halving(), [2, 1]),
        ("shared", "resident", Halving(), [1, 0]),
    ],
)
def test_engines_do_the_work_that_is_planned(
    engine: str,
    mode: Mode,
    halving: Halving | None,
    passes: list[int],
    store: SnapshotStore,
    vectors: SearchData,
    tmp_path: Path,
) -> None:
    result = search(store, vectors, engine=engine, batch_size=BATCH_SIZE, whole_models=tmp_path)
    sizes = {b.key: b.nbytes for name in store.names() for b in store.snapshot(name).blocks}
    rounds = list(rounds_of(result, store, vectors, halving=halving))
    planned = PlannedWork(0, 0, 0, 0)
    for (tree, batches), times in zip(rounds, passes, strict=True):
        planned += planned_work(tree, batches, sizes, mode, times)
    counted = result.work.counts
    assert counted["block_executions"] == planned.block_executions
    assert counted["item_blocks"] == planned.item_blocks
    # Base and SHiFT read whole models, from files that hold more than their tensors.
    if "block_loads" in counted:
        assert counted["block_loads"] == planned.block_loads
        assert counted["bytes_loaded"] == planned.bytes_loaded
    else:
        assert counted["model_loads"] * len(store.snapshot(store.names()[0]).blocks) == (
            planned.block_loads
        )
