"""Counters of what was read: from storage what was cold, from the page cache what was warm."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest
import torch

from bench_core import data
from bench_core.model_search import read_tiers, search
from bench_core.model_search.loading import BlockLoader
from bench_core.model_search.meter import Meter
from bench_core.model_search.read_tiers import Tiers
from bench_core.models.chains import family, initialised
from bench_core.models.chains.mlp import MlpConfiguration
from bench_core.snapshots import SnapshotStore
from prevent_caching.errors import EvictionRefused
from prevent_caching.eviction import evict

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="Linux counts reads by thread")


def make_cold(paths: list[Path]) -> None:
    """Drop the files' pages; skip the test where that is not possible."""
    for path in paths:
        try:
            left = evict(path)
        except EvictionRefused as refusal:
            pytest.skip(str(refusal))
        if left:
            pytest.skip(f"{left:.0%} of {path} stay in the page cache")


@pytest.fixture
def store(tmp_path: Path) -> SnapshotStore:
    """Return a store with a block that is read by several threads, and a small one."""
    found = SnapshotStore(tmp_path / "store")
    spec = family("mlp").chain(MlpConfiguration(8192, (1024, 32)), "mlp")
    found.add("m0", spec, [initialised(block, 0) for block in spec.blocks])
    return found


def counted(store: SnapshotStore, policy: str) -> tuple[dict[str, int], int]:
    """Load all blocks; return what was counted, and their bytes."""
    meter, blocks = Meter(), store.snapshot("m0").blocks
    loader = BlockLoader(store, torch.device("cpu"), meter, policy=policy).tuned()
    for block in blocks:
        loader.load(block)
    return dict(meter.work.counts), sum(block.nbytes for block in blocks)


@linux_only
@pytest.mark.parametrize("policy", ["populate", "pread"])
def test_cold_blocks_come_from_storage_and_warm_ones_from_the_page_cache(
    store: SnapshotStore, policy: str
) -> None:
    make_cold([store.block_path(block) for block in store.snapshot("m0").blocks])
    cold, nbytes = counted(store, policy)
    warm, _ = counted(store, policy)
    assert cold["bytes_loaded"] == warm["bytes_loaded"] == nbytes
    assert (cold["bytes_from_storage"], cold["bytes_from_page_cache"]) == (nbytes, 0)
    assert (warm["bytes_from_storage"], warm["bytes_from_page_cache"]) == (0, nbytes)


@linux_only
def test_what_is_partly_cold_is_counted_by_its_parts(store: SnapshotStore) -> None:
    large, small = sorted(store.snapshot("m0").blocks, key=lambda b: b.nbytes, reverse=True)
    counted(store, "populate")
    make_cold([store.block_path(small)])
    counts, _ = counted(store, "populate")
    assert counts["bytes_from_storage"] == small.nbytes
    assert counts["bytes_from_page_cache"] == large.nbytes


@linux_only
def test_what_other_threads_read_meanwhile_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "images"
    path.write_bytes(torch.randint(0, 255, (1 << 20,), dtype=torch.uint8).numpy().tobytes())
    make_cold([path])
    meter = Meter()
    tiers = Tiers(meter)
    with tiers.watching():
        other = threading.Thread(target=path.read_bytes)
        other.start()
        other.join()
    tiers.count(1000)
    assert meter.work.counts["bytes_from_storage"] == 0
    assert meter.work.counts["bytes_from_page_cache"] == 1000


@linux_only
def test_base_reads_each_model_from_storage_once_and_then_from_the_page_cache(
    tmp_path: Path, store: SnapshotStore
) -> None:
    items = data.load("vectors", width=8192, n_classes=3, n_train=12, n_test=6)
    whole = tmp_path / "whole"
    search(store, items, engine="base", whole_models=whole)
    files = list(whole.glob("*.pt"))
    make_cold(files)
    counts = search(store, items, engine="base", whole_models=whole).work.counts
    nbytes = sum(path.stat().st_size for path in files)
    # Once for the test items, and again for the training items.
    assert counts["bytes_loaded"] == 2 * nbytes
    assert counts["bytes_from_storage"] == counts["bytes_from_page_cache"] == nbytes


def test_where_the_system_does_not_say_the_tiers_are_left_out(
    store: SnapshotStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_tiers, "_read_bytes", lambda thread: None)
    counts, nbytes = counted(store, "populate")
    assert counts["bytes_loaded"] == nbytes
    assert "bytes_from_storage" not in counts
    assert "bytes_from_page_cache" not in counts
