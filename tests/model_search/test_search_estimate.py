"""The estimate: what it counts is what a search does, and its times and memory follow from that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from search_sets import items, store_of

from bench_core import data
from bench_core.data import SearchData
from bench_core.model_search import BudgetError, SearchResult, Settings, search
from bench_core.model_search.candidates import Candidates
from bench_core.model_search.estimate import Estimate, estimate
from bench_core.model_search.expected_work import ExpectedWork, Sizes, expected_work
from bench_core.model_search.probes import Rates, measure_rates
from bench_core.model_search.rates import BlockRates, measure_blocks
from bench_core.models.chains.resources import input_shapes
from bench_core.snapshots import BlockRef, SnapshotStore, synthetic_set

ENGINES = ("base", "base_tuned", "shift", "alsatian", "shared")
MODELS = ((0, 0, 0), (0, 0, 1), (0, 1, 1), (0, 1, 2), (1, 1, 1), (1, 2, 0))


@pytest.fixture
def store(tmp_path: Path) -> SnapshotStore:
    return store_of(tmp_path, MODELS)


def candidates_of(store: SnapshotStore, found: SearchData) -> Candidates:
    return Candidates.of(store.snapshots(), found)


def counted(store: SnapshotStore, found: SearchData, **settings: object) -> ExpectedWork:
    chosen = Settings.of(**settings)
    sizes = Sizes(len(found.train), len(found.test), chosen.bytes_each())
    return expected_work(candidates_of(store, found), sizes, chosen)


def rates_of(candidates: Candidates, **rates: float) -> Rates:
    """Return rates of 0 but for those that are given."""
    blocks = BlockRates(1, dict.fromkeys(candidates.blocks, rates.pop("block", 0.0)), 1.0)
    names = [field.name for field in fields(Rates) if field.name != "blocks"]
    return Rates(blocks, **(dict.fromkeys(names, 0.0) | rates))


def estimated(
    store: SnapshotStore, found: SearchData, engine: str, budget: int | None = None, **rates: float
) -> Estimate:
    candidates = candidates_of(store, found)
    chosen = Settings.of(engine=engine, budget=budget)
    return estimate(candidates, found, chosen, rates_of(candidates, **rates))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("budget", [None, 1600])
def test_what_is_counted_ahead_is_what_a_search_without_halving_does(
    store: SnapshotStore, engine: str, budget: int | None
) -> None:
    found = items(40)
    settings: dict[str, Any] = {"engine": engine, "halve": False, "batch_size": 4}
    settings["budget"] = budget
    expected = counted(store, found, **settings)
    counts = search(store, found, **settings).work.counts
    assert expected.item_blocks == counts["item_blocks"]
    assert expected.inputs_made == counts["inputs_made"]
    assert sum(n_models for n_models, _ in expected.fits) == counts["proxy_fits"]
    if engine != "base_tuned" or budget is None:  # which decodes anew what it cannot keep
        assert expected.items_decoded == counts["items_decoded"]
    if engine in ("base", "shift"):
        blocks = sum(block.nbytes for model in store.snapshots() for block in model.blocks)
        assert counts["model_loads"] == 2 * len(MODELS)
        assert expected.bytes_loaded == expected.bytes_initialised == 2 * blocks
    else:
        assert expected.bytes_loaded == counts["bytes_loaded"]
        assert expected.bytes_initialised == 0


def test_shift_is_counted_with_its_loads_in_every_round(store: SnapshotStore) -> None:
    found = items(40)
    counts = search(store, found, engine="shift").work.counts
    expected = counted(store, found, engine="shift")
    one_model = sum(block.nbytes for block in store.snapshots()[0].blocks)
    assert expected.bytes_loaded == counts["model_loads"] * one_model
    assert expected.item_blocks == counts["item_blocks"]
    assert expected.items_decoded == counts["items_decoded"]


@pytest.mark.parametrize("engine", ENGINES)
def test_every_part_of_a_search_has_a_share_in_the_time(store: SnapshotStore, engine: str) -> None:
    found = items(40)
    rates = ("block", "load_seconds_per_byte", "decode_seconds", "finish_seconds", "fit_seconds")
    for name in (*rates, "fit_seconds_per_item"):
        rate: dict[str, Any] = {name: 1.0}
        assert estimated(store, found, engine, **rate).seconds > 0, name
    whole = estimated(store, found, engine, initialise_seconds_per_byte=1.0).seconds
    assert (whole > 0) == (engine in ("base", "shift"))


def test_our_engine_reads_beside_the_computation_and_others_before_it(
    store: SnapshotStore,
) -> None:
    found = items(40)
    for engine in ("alsatian", "shared"):
        both = estimated(store, found, engine, block=1.0, load_seconds_per_byte=1.0)
        parts = (both.compute_seconds, both.load_seconds)
        assert both.seconds == (max(parts) if engine == "shared" else sum(parts))


def least_of(run: Callable[[], object]) -> int:
    """Return the least budget that a refusal names."""
    with pytest.raises(BudgetError) as refused:
        run()
    return int(str(refused.value).split("at least ")[1].split(" ")[0].replace(",", ""))


@pytest.mark.parametrize("engine", ["alsatian", "shared"])
def test_the_estimate_refuses_the_budgets_that_the_engine_refuses(
    store: SnapshotStore, engine: str
) -> None:
    found = items(40)

    def run(budget: int) -> SearchResult:
        return search(store, found, engine=engine, budget=budget)

    least = least_of(lambda: run(1))
    assert least_of(lambda: estimated(store, found, engine, budget=1)) == least
    run(least)
    assert estimated(store, found, engine, budget=least).peak_bytes > 0
    with pytest.raises(BudgetError):
        estimated(store, found, engine, budget=least - 1)


def test_chunks_are_those_that_alsatian_makes(store: SnapshotStore) -> None:
    found = items(40)
    least = least_of(lambda: search(store, found, engine="alsatian", halve=False, budget=1))
    settings: dict[str, Any] = {"engine": "alsatian", "halve": False, "budget": least}
    candidates = candidates_of(store, found)
    chunks = estimate(candidates, found, Settings.of(**settings), rates_of(candidates)).n_chunks
    loads = search(store, found, **settings).work.counts["bytes_loaded"]
    distinct = sum(block.nbytes for block in _run_once(store))
    assert loads == chunks * distinct
    assert chunks > 2


def _run_once(store: SnapshotStore) -> list[BlockRef]:
    """Return the last block of every distinct prefix of the models."""
    chains = [model.blocks for model in store.snapshots()]
    prefixes = {tuple(b.key for b in c[:end]): c[end - 1] for c in chains for end in (1, 2, 3)}
    return list(prefixes.values())


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[SnapshotStore, SearchData]:
    """Return models whose results are larger than they are."""
    found = SnapshotStore(tmp_path_factory.mktemp("images"))
    synthetic_set(found, "resnet_tiny", "TOP_LAYERS", 3)
    return found, data.load("digits", num_train_items=60, num_test_items=20)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_batch_in_work_is_in_the_memory_of_every_engine(
    images: tuple[SnapshotStore, SearchData], engine: str
) -> None:
    candidates = candidates_of(*images)
    working = max(needs.working_bytes for needs in candidates.resources.values())
    for size in (16, 32):
        chosen = Settings.of(engine=engine, halve=False, batch_size=size)
        found = estimate(candidates, images[1], chosen, rates_of(candidates))
        assert found.peak_bytes > size * working


def test_rates_are_measured_of_all_that_an_estimate_needs(
    images: tuple[SnapshotStore, SearchData],
) -> None:
    candidates = candidates_of(*images)
    rates = measure_rates(images[0], candidates, images[1], Settings.of(engine="base"))
    assert min(rates.blocks.seconds.values()) > 0
    assert rates.load_seconds_per_byte > 0
    assert rates.initialise_seconds_per_byte > 0
    assert rates.decode_seconds > 0
    assert rates.finish_seconds > 0
    assert rates.fit_seconds + rates.fit_seconds_per_item > 0


def test_slow_blocks_are_timed_with_fewer_items(
    store: SnapshotStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = items(40)
    sizes: list[int] = []
    forward = torch.nn.Linear.forward

    def noted(self: torch.nn.Linear, given: torch.Tensor) -> torch.Tensor:
        sizes.append(len(given))
        return forward(self, given)

    monkeypatch.setattr(torch.nn.Linear, "forward", noted)
    candidates = candidates_of(store, found)
    shapes = input_shapes(found.train.kind, found.train.shape)
    measure_blocks(candidates, shapes, 64, limit_seconds=1e-9)
    assert set(sizes) == {1}
    sizes.clear()
    measure_blocks(candidates, shapes, 64, limit_seconds=1e3)
    assert max(sizes) == 64


def test_a_damaged_block_does_not_end_the_measuring(store: SnapshotStore) -> None:
    found = items(40)
    candidates = candidates_of(store, found)
    path = store.block_path(store.snapshots()[0].blocks[0])
    path.write_bytes(path.read_bytes()[:-4])
    rates = measure_rates(store, candidates, found, Settings.of())
    assert rates.load_seconds_per_byte > 0
