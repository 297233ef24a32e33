"""Work counters of 35 models by the closed forms of the published approaches.

Strassenburg et al., "Alsatian", SIGMOD 2025: sections 2 and 3 for what each approach does, section
5.1 for the models. The draws' sum is the published one for architectures with 13 places to cut.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bench_core import data
from bench_core.data import SearchData
from bench_core.model_search import BudgetError, SearchResult, search
from bench_core.snapshots import SnapshotStore, synthetic_set

N_MODELS, N_BLOCKS = 35, 12
N_TRAIN, N_TEST, BATCH = 800, 200, 32
LIVE = (35, 17, 8, 4, 2, 1)
ADDED = (13, 26, 52, 104, 208, 397)
DRAWN = 39
"""Re-trained blocks of the 34 derived models under TOP_LAYERS."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> SnapshotStore:
    found = SnapshotStore(tmp_path_factory.mktemp("store"))
    synthetic_set(found, "mlp_deep", "TOP_LAYERS", N_MODELS)
    return found


@pytest.fixture(scope="module")
def items() -> SearchData:
    return data.load("digit_vectors", num_train_items=N_TRAIN, num_test_items=N_TEST)


def run(store: SnapshotStore, items: SearchData, engine: str, **options: object) -> SearchResult:
    return search(
        store,
        items,
        engine=engine,
        proxy="ridge",
        batch_size=BATCH,
        paper_exact=True,
        **options,
    )


def n_batches(n_items: int) -> int:
    return -(-n_items // BATCH)


def distinct(store: SnapshotStore, names: Sequence[str]) -> int:
    """Return how many prefixes the models have: what a search that shares runs for each batch."""
    chains = [tuple(block.key for block in store.snapshot(name).blocks) for name in names]
    return len({chain[:length] for chain in chains for length in range(1, N_BLOCKS + 1)})


def by_round(store: SnapshotStore, result: SearchResult) -> list[int]:
    return [distinct(store, [item.name for item in r.scores]) for r in result.rounds]


def test_a_set_has_the_published_number_of_distinct_blocks(store: SnapshotStore) -> None:
    keys = {block.key for snapshot in store.snapshots() for block in snapshot.blocks}
    assert len(keys) == N_BLOCKS + DRAWN
    assert distinct(store, store.names()) == N_BLOCKS + DRAWN


@pytest.mark.parametrize("engine", ["base", "base_tuned"])
def test_base_runs_every_model_over_all_items(
    store: SnapshotStore, items: SearchData, engine: str
) -> None:
    counts = run(store, items, engine).work.counts
    batches = n_batches(N_TEST) + n_batches(N_TRAIN)
    assert counts["block_executions"] == N_MODELS * N_BLOCKS * batches
    assert counts["item_blocks"] == N_MODELS * N_BLOCKS * (N_TRAIN + N_TEST)


def test_base_loads_and_decodes_for_every_model_and_split(
    store: SnapshotStore, items: SearchData
) -> None:
    counts = run(store, items, "base").work.counts
    assert counts["model_loads"] == 2 * N_MODELS
    assert counts["items_decoded"] == N_MODELS * (N_TRAIN + N_TEST)
    tuned = run(store, items, "base_tuned").work.counts
    assert tuned["model_loads"] == N_MODELS
    assert tuned["block_loads"] == N_MODELS * N_BLOCKS
    assert tuned["items_decoded"] == N_TRAIN + N_TEST


def test_shift_loads_each_live_model_in_every_round_and_twice_in_the_first(
    store: SnapshotStore, items: SearchData
) -> None:
    result = run(store, items, "shift")
    assert [len(found.scores) for found in result.rounds] == list(LIVE)
    counts = result.work.counts
    assert counts["model_loads"] == LIVE[0] + sum(LIVE)
    extracted = LIVE[0] * N_TEST + sum(n * added for n, added in zip(LIVE, ADDED, strict=True))
    assert counts["items_decoded"] == extracted
    assert counts["item_blocks"] == N_BLOCKS * extracted
    batches = LIVE[0] * n_batches(N_TEST)
    batches += sum(n * n_batches(added) for n, added in zip(LIVE, ADDED, strict=True))
    assert counts["block_executions"] == N_BLOCKS * batches


def test_alsatian_runs_each_distinct_block_once_and_loads_it_twice_in_the_first_round(
    store: SnapshotStore, items: SearchData
) -> None:
    result = run(store, items, "alsatian")
    live = by_round(store, result)
    assert live[0] == N_BLOCKS + DRAWN
    counts = result.work.counts
    assert counts["block_loads"] == live[0] + sum(live)
    extracted = live[0] * N_TEST + sum(n * added for n, added in zip(live, ADDED, strict=True))
    assert counts["item_blocks"] == extracted
    batches = live[0] * n_batches(N_TEST)
    batches += sum(n * n_batches(added) for n, added in zip(live, ADDED, strict=True))
    assert counts["block_executions"] == batches
    assert counts["items_decoded"] == N_TEST + N_TRAIN


def test_shared_does_the_work_of_alsatian_and_loads_each_block_once(
    store: SnapshotStore, items: SearchData
) -> None:
    ours, published = (run(store, items, engine) for engine in ("shared", "alsatian"))
    assert ours.table == published.table
    for name in ("block_executions", "item_blocks", "items_decoded"):
        assert ours.work.counts[name] == published.work.counts[name]
    assert ours.work.counts["block_loads"] == N_BLOCKS + DRAWN


@pytest.mark.parametrize(("held", "passes"), [(1, 7 + 25), (5, 2 + 5), (50, 2)])
def test_alsatian_reads_all_blocks_again_for_each_chunk_and_computes_no_more(
    store: SnapshotStore, items: SearchData, held: int, passes: int
) -> None:
    """With room for so many batches, the 7 of the test items and the 25 others take so many."""
    with pytest.raises(BudgetError) as refused:
        run(store, items, "alsatian", halve=False, budget=1)
    one_batch = int(str(refused.value).split("at least ")[1].split(" ")[0].replace(",", ""))
    found = run(store, items, "alsatian", halve=False, budget=held * one_batch)
    assert found.work.counts["block_loads"] == passes * (N_BLOCKS + DRAWN)
    assert found.work.counts["item_blocks"] == (N_TRAIN + N_TEST) * (N_BLOCKS + DRAWN)


def test_the_same_model_is_scored_once(store: SnapshotStore, items: SearchData) -> None:
    result = run(store, items, "shared")
    chains = {
        found.index: {
            tuple(block.key for block in store.snapshot(item.name).blocks) for item in found.scores
        }
        for found in result.rounds
    }
    # Models of which nothing was re-trained are copies: six of the draws are 0.
    assert len(chains[0]) < N_MODELS
    assert result.work.counts["proxy_fits"] == sum(map(len, chains.values()))
