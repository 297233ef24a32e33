"""Model search on a device of its own; pytest runs it as `test_simulated_device.py` says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from search_sets import items, store_of
from simulated_device import NAME

from bench_core import data
from bench_core.data import SearchData
from bench_core.model_search import ENGINES, SearchResult, search
from bench_core.model_search.candidates import Candidates
from bench_core.model_search.rates import measure_blocks
from bench_core.models.chains import chain_names
from bench_core.models.chains.resources import input_shapes
from bench_core.snapshots import SnapshotStore, synthetic_set

LOCAL = [name for name, engine in ENGINES.items() if engine.is_local]
TINY = [name for name in chain_names() if name.endswith("_tiny")]
SOURCES = {"bert": "docstrings", "mlp": "digit_vectors"}
"""The data that a family takes; all others take images."""
SAME_WORK = ("block_executions", "item_blocks", "bytes_loaded", "proxy_steps")


def both(store: SnapshotStore, found: SearchData, **settings: Any) -> tuple[SearchResult, ...]:
    """Search on the host and on the device, and hold the results against each other."""
    host, device = (search(store, found, device=name, **settings) for name in ("cpu", NAME))
    assert device.table == host.table
    assert device.ranking == host.ranking
    assert [device.work.counts.get(c) for c in SAME_WORK] == [
        host.work.counts.get(c) for c in SAME_WORK
    ]
    assert device.work.counts["bytes_to_device"] > 0
    assert device.work.counts["bytes_from_device"] > 0
    return host, device


def a_set(folder: Path, architecture: str, n_models: int) -> tuple[SnapshotStore, SearchData]:
    store = SnapshotStore(folder)
    synthetic_set(store, architecture, "TWENTY_FIVE_PERCENT", n_models)
    source = SOURCES.get(architecture.partition("_")[0], "digits")
    return store, data.load(source, num_train_items=40, num_test_items=12)


@pytest.mark.parametrize("engine", LOCAL)
def test_every_engine_finds_the_same_bits(engine: str, tmp_path: Path) -> None:
    both(*a_set(tmp_path, "resnet_tiny", 5), engine=engine)


@pytest.mark.parametrize("architecture", TINY)
def test_every_architecture_runs(architecture: str, tmp_path: Path) -> None:
    both(*a_set(tmp_path, architecture, 3), verify=True)


def test_blocks_are_timed_there(tmp_path: Path) -> None:
    store, found = a_set(tmp_path, "resnet_tiny", 2)
    candidates = Candidates.of(store.snapshots(), found)
    shapes = input_shapes(found.train.kind, found.train.shape)
    rates = measure_blocks(candidates, shapes, 4, NAME, repeats=1)
    assert rates.seconds.keys() == candidates.blocks.keys()


@pytest.mark.parametrize("budget", [1400, 1700])
def test_blocks_that_come_and_go(budget: int, tmp_path: Path) -> None:
    store = store_of(tmp_path, [(0, 1, 2), (0, 1, 1), (0, 2, 2), (1, 1, 1), (1, 0), (0, 1, 2, 2)])
    host, device = both(store, items(60), budget=budget, batch_size=4)
    free, _ = both(store, items(60), batch_size=4)
    assert device.table == free.table
    assert host.work.peak_block_bytes == device.work.peak_block_bytes
    assert device.work.counts["block_loads"] > free.work.counts["block_loads"]


def test_what_was_done_on_the_device_is_gone_on_from(tmp_path: Path) -> None:
    store, found = a_set(tmp_path / "store", "resnet_tiny", 5)
    there: dict[str, Any] = {"device": NAME, "journal": tmp_path / "journal.sqlite"}

    def stop(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(store, found, batch_size=8, progress=stop, **there)
    resumed = search(store, found, batch_size=8, **there)
    assert resumed.work.counts["batches_resumed"] > 0
    assert resumed.table == search(store, found, batch_size=8).table
