"""The search on Ray workers: the same table and features, also when a worker dies or is stopped."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from search_sets import WIDTH, items, store_of

from bench_core import data
from bench_core.data import DataRecipe, SearchData, Vectors
from bench_core.errors import CorruptFileError
from bench_core.model_search import BudgetError, SearchError, search
from bench_core.model_search.engines import distributed
from bench_core.model_search.features import MemoryFeatures
from bench_core.snapshots import SnapshotStore, synthetic_set

ray: Any = pytest.importorskip("ray", reason="the extra ray is not installed")

MODELS = [(0, 1), (0, 2), (1, 1), (0, 1, 2), (3,)]
N_CPUS = 3


@pytest.fixture(scope="module", autouse=True)
def one_ray() -> Iterator[None]:
    ray.init(num_cpus=N_CPUS, include_dashboard=False, log_to_driver=False)
    # Workers cannot import test modules: what is defined here is sent as it is.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    ray.shutdown()


class Watched(Vectors):
    """Vectors that call a function with the first of the items that are asked for."""

    def __init__(self, plain: Vectors, on_items: Callable[[int], None]) -> None:
        (values,) = plain._stored
        super().__init__(plain.name, values, plain.labels, plain.classes)
        self._on_items = on_items

    def decoded(self, indices: Any) -> Any:
        self._on_items(int(indices[0]))
        return super().decoded(indices)


def watched(found: SearchData, on_items: Callable[[int], None]) -> SearchData:
    assert isinstance(found.train, Vectors)
    return SearchData(Watched(found.train, on_items), found.test)


def dying(marks: Path, item: int, times: int) -> Callable[[int], None]:
    """Return what kills its process at an item, so many times in all."""

    def die(first: int) -> None:
        for attempt in range(times if first == item else 0):
            mark = marks / str(attempt)
            if not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)

    return die


def free_cpus(timeout_s: float = 20) -> float:
    """Return how many CPUs Ray has left, once all are free or after some time."""
    until = time.monotonic() + timeout_s
    while (found := ray.available_resources().get("CPU", 0)) < N_CPUS and time.monotonic() < until:
        time.sleep(0.05)
    return float(found)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[Any, list[torch.Tensor]]:
    """Return the features that arrive, by chain and batch; there should be one of each."""
    found: dict[Any, list[torch.Tensor]] = {}
    put = MemoryFeatures.put

    def recorded(self: MemoryFeatures, items: Sequence[Any]) -> None:
        for chain, batch, features in items:
            found.setdefault((chain, batch), []).append(features.clone())
        put(self, items)

    monkeypatch.setattr(MemoryFeatures, "put", recorded)
    return found


@pytest.mark.parametrize("n_workers", [pytest.param(1, marks=pytest.mark.slow), 2, 3])
def test_any_number_of_workers_gives_the_same_table_and_features(
    n_workers: int, tmp_path: Path, seen: dict[Any, list[torch.Tensor]]
) -> None:
    store = SnapshotStore(tmp_path)
    synthetic_set(store, "resnet_tiny", "TWENTY_FIVE_PERCENT", 5)
    found = data.load("digits", num_train_items=60, num_test_items=16)
    expected = search(store, found, batch_size=8)
    features = dict(seen)
    seen.clear()
    result = search(store, found, batch_size=8, engine="distributed", workers=n_workers)
    assert result.table == expected.table
    assert result.ranking == expected.ranking
    assert seen.keys() == features.keys()
    for key, [there] in features.items():
        [here] = seen[key]
        assert torch.equal(here, there)


def test_the_work_of_all_workers_is_counted(tmp_path: Path) -> None:
    store = store_of(tmp_path, MODELS)
    search(store, items(60))  # after which all blocks are in the page cache
    expected = search(store, items(60)).work
    alone = search(store, items(60), engine="distributed").work
    assert alone.counts == expected.counts
    assert alone.peak_block_bytes == expected.peak_block_bytes
    assert alone.seconds["inference"] > 0
    both = search(store, items(60), engine="distributed", workers=2).work
    assert both.counts["item_blocks"] >= expected.counts["item_blocks"]
    assert both.counts["bytes_loaded"] >= expected.counts["bytes_loaded"]
    assert both.peak_block_bytes <= expected.peak_block_bytes


@pytest.mark.parametrize("models", [[(0, 1, 2)], [(0, 1)] * 3, [(0, 1), (0, 1, 2), (0,)]])
def test_one_model_identical_models_and_prefixes(
    models: list[tuple[int, ...]], tmp_path: Path
) -> None:
    store = store_of(tmp_path, models)
    options: dict[str, Any] = {"halve": False, "batch_size": 7}
    expected = search(store, items(40), **options)
    result = search(store, items(40), engine="distributed", workers=3, **options)
    assert result.table == expected.table


def test_a_worker_that_is_killed_is_replaced(
    tmp_path: Path, seen: dict[Any, list[torch.Tensor]]
) -> None:
    store, marks = store_of(tmp_path / "store", MODELS), tmp_path / "marks"
    marks.mkdir()
    expected = search(store, items(60), batch_size=4)
    seen.clear()
    found = watched(items(60), dying(marks, item=20, times=1))
    done: list[int] = []
    result = search(
        store,
        found,
        batch_size=4,
        engine="distributed",
        workers=2,
        progress=lambda count, total: done.append(total - count),
    )
    assert (marks / "0").exists()
    assert result.table == expected.table
    assert all(len(features) == 1 for features in seen.values())
    assert done[-1] == 0


@pytest.mark.slow
def test_a_worker_that_dies_again_and_again_ends_the_search_in_one_line(tmp_path: Path) -> None:
    store, marks = store_of(tmp_path / "store", MODELS), tmp_path / "marks"
    marks.mkdir()
    found = watched(items(60), dying(marks, item=0, times=100))
    journal = tmp_path / "journal.sqlite"
    with pytest.raises(SearchError, match="lost more than 2 times") as caught:
        search(store, found, engine="distributed", workers=2, journal=journal)
    assert "\n" not in str(caught.value)
    assert free_cpus() == N_CPUS


def test_a_search_that_is_stopped_frees_the_workers_and_goes_on(
    tmp_path: Path, seen: dict[Any, list[torch.Tensor]]
) -> None:
    def stop(done: int, total: int) -> None:
        if done >= 5:
            raise KeyboardInterrupt

    store, journal = store_of(tmp_path / "store", MODELS), tmp_path / "journal.sqlite"
    options: dict[str, Any] = {
        "engine": "distributed",
        "workers": 2,
        "batch_size": 4,
        "journal": journal,
    }
    with pytest.raises(KeyboardInterrupt):
        search(store, items(60), progress=stop, **options)
    assert free_cpus() == N_CPUS
    kept = len(seen)
    result = search(store, items(60), **options)
    assert result.table == search(store, items(60), batch_size=4).table
    assert result.work.counts["batches_resumed"] >= kept > 0


def test_each_worker_opens_the_data_of_a_recipe_itself(tmp_path: Path) -> None:
    store = store_of(tmp_path, MODELS)
    recipe = DataRecipe.of("vectors", width=WIDTH, n_classes=3, n_train=60, n_test=12)
    expected = search(store, recipe)
    assert search(store, recipe, engine="distributed", workers=2).table == expected.table


@pytest.mark.slow
def test_a_worker_that_finds_other_data_is_refused(tmp_path: Path) -> None:
    found, path = items(60), tmp_path / "data.npz"

    class Changed(DataRecipe):
        """Opens other items elsewhere."""

        def load(self) -> SearchData:
            return found if os.getpid() == here else other

    here, other = os.getpid(), items(61)
    with pytest.raises(SearchError, match="a worker found other data"):
        search(store_of(tmp_path, MODELS), Changed(str(path)), engine="distributed")


def test_data_that_cannot_be_sent_are_refused_in_one_line(tmp_path: Path) -> None:
    open_file = (tmp_path / "open").open("w")
    found = watched(items(60), lambda first: print(first, file=open_file))
    with open_file, pytest.raises(SearchError, match="cannot be sent to workers") as caught:
        search(store_of(tmp_path, MODELS), found, engine="distributed")
    assert "\n" not in str(caught.value)


def test_a_damaged_block_is_named_and_its_models_can_be_left_out(tmp_path: Path) -> None:
    store = store_of(tmp_path, MODELS)
    store.block_path(store.snapshot("m1").blocks[-1]).unlink()
    options: dict[str, Any] = {"engine": "distributed", "workers": 2}
    with pytest.raises(CorruptFileError, match="it is missing"):
        search(store, items(60), **options)
    expected = search(store, items(60), skip_unusable=True)
    result = search(store, items(60), skip_unusable=True, **options)
    assert result.table == expected.table
    assert result.ranking == expected.ranking
    assert {item.name for item in result.ranking if item.round < 0} == {"m1", "m3"}


@pytest.mark.slow
def test_a_budget_that_is_too_small_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match="at least"):
        search(store_of(tmp_path, MODELS), items(60), engine="distributed", budget=10)


def test_a_worker_that_would_compute_other_bits_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "environment", lambda device: "of another machine")
    with pytest.raises(SearchError, match="differ from those here"):
        search(store_of(tmp_path, MODELS), items(60), engine="distributed")
    assert free_cpus() == N_CPUS


def test_workers_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    store = store_of(tmp_path, MODELS)
    with pytest.raises(SearchError, match="at least 1 expected"):
        search(store, items(60), engine="distributed", workers=0)
    with pytest.raises(SearchError, match="take the engine 'distributed'"):
        search(store, items(60), workers=2)
    with pytest.raises(SearchError, match="but Ray has 3 in all"):
        search(store, items(60), engine="distributed", workers=4)


@pytest.mark.slow
def test_workers_use_as_many_threads_as_the_search_had(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    synthetic_set(store, "resnet_tiny", "TOP_LAYERS", 3)
    found = data.load("digits", num_train_items=40, num_test_items=10)
    torch.set_num_threads(2)
    try:
        expected = search(store, found)
        assert search(store, found, engine="distributed").table == expected.table
    finally:
        torch.set_num_threads(1)
