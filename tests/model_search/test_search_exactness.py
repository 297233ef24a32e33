"""All engines give the same table bit for bit: any models, budget, batches, interruption."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from search_sets import items, model_sets, plain_features, store_of

from bench_core import data
from bench_core.data import SearchData
from bench_core.model_search import ENGINES, BudgetError, SearchError, search
from bench_core.model_search.candidates import Candidates
from bench_core.model_search.features import DiskFeatures, MemoryFeatures
from bench_core.models.chains import family_of
from bench_core.snapshots import SnapshotStore, import_state_dict, synthetic_set

LOCAL = [name for name, engine in ENGINES.items() if engine.is_local]
HALVING = [name for name in LOCAL if ENGINES[name].halves]
WHOLE = ("base", "base_tuned")


class Stopped(Exception):
    """Raised in the middle of a search."""


def tables(store: SnapshotStore, found: SearchData, names: Sequence[str], **options: Any) -> Any:
    return {name: search(store, found, engine=name, **options) for name in names}


@given(
    models=model_sets,
    n_train=st.integers(60, 90),
    batch_size=st.integers(1, 40),
    factor=st.integers(2, 4),
    winners=st.integers(1, 3),
    proxy=st.sampled_from(["linear", "ridge", "knn"]),
)
@settings(deadline=None, max_examples=20)
def test_all_engines_that_halve_alike_give_one_table(
    models: list[tuple[int, ...]],
    n_train: int,
    batch_size: int,
    factor: int,
    winners: int,
    proxy: str,
) -> None:
    options = {"batch_size": batch_size, "factor": factor, "winners": winners, "proxy": proxy}
    with tempfile.TemporaryDirectory() as folder:
        store, found = store_of(Path(folder), models), items(n_train)
        results = tables(store, found, [*HALVING, *WHOLE], halve=True, **options)
        expected = results.pop("shared")
        for name, result in results.items():
            assert result.table == expected.table, name
            assert result.ranking == expected.ranking, name


@given(models=model_sets, batch_size=st.integers(1, 40))
@settings(deadline=None, max_examples=8)
def test_without_halving_all_engines_agree_too(
    models: list[tuple[int, ...]], batch_size: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store, found = store_of(Path(folder), models), items(40)
        results = tables(store, found, LOCAL, halve=False, batch_size=batch_size)
        expected = results.pop("base").table
        assert all(result.table == expected for result in results.values())


@pytest.mark.parametrize("architecture", ["resnet_tiny", "bert_tiny"])
def test_engines_agree_on_several_threads(architecture: str, tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    synthetic_set(store, architecture, "TWENTY_FIVE_PERCENT", 4)
    source = "docstrings" if architecture.startswith("bert") else "digits"
    found = data.load(source, num_train_items=40, num_test_items=12)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        results = tables(store, found, [*HALVING, *WHOLE], halve=True)
    finally:
        torch.set_num_threads(before)
    expected = results.pop("shared").table
    assert all(result.table == expected for result in results.values())


@given(models=model_sets, batch_size=st.integers(1, 20), extra=st.integers(0, 2000))
@settings(deadline=None, max_examples=15)
def test_no_budget_changes_a_bit_and_the_least_is_exact(
    models: list[tuple[int, ...]], batch_size: int, extra: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store, found = store_of(Path(folder), models), items(40)
        expected = search(store, found, batch_size=batch_size)
        least = _least_budget(store, found, batch_size)
        for budget in (least, least + extra):
            result = search(store, found, batch_size=batch_size, budget=budget)
            assert result.table == expected.table
            held = result.work.peak_activation_bytes + result.work.peak_block_bytes
            assert held <= budget


def _least_budget(store: SnapshotStore, found: SearchData, batch_size: int) -> int:
    """Raise the budget to what a refusal asks for, until it is enough; one byte less is not."""
    budget = 1
    for _ in range(6):
        try:
            search(store, found, batch_size=batch_size, budget=budget)
        except BudgetError as error:
            budget = int(str(error).split("at least ")[1].split(" ")[0].replace(",", ""))
        else:
            with pytest.raises(BudgetError):
                search(store, found, batch_size=batch_size, budget=budget - 1)
            return budget
    raise AssertionError("what a refusal asks for is never enough")


@given(
    models=model_sets,
    engine=st.sampled_from(["shared", "alsatian", "base_tuned"]),
    stop=st.integers(1, 60),
    batch_size=st.integers(1, 12),
)
@settings(deadline=None, max_examples=12)
def test_interrupted_anywhere_it_goes_on_to_the_same_table(
    models: list[tuple[int, ...]], engine: str, stop: int, batch_size: int
) -> None:
    def stop_there(done: int, total: int) -> None:
        if done >= stop:
            raise Stopped

    with tempfile.TemporaryDirectory() as folder:
        store, found = store_of(Path(folder) / "store", models), items(60)
        options: dict[str, Any] = {"engine": engine, "batch_size": batch_size}
        expected = search(store, found, **options)
        journal = Path(folder) / "journal.sqlite"
        with contextlib.suppress(Stopped):  # it may end before
            search(store, found, journal=journal, progress=stop_there, **options)
        result = search(store, found, journal=journal, **options)
        assert result.work.counts["batches_resumed"] >= 1
        done, whole = (r.work.counts.get("item_blocks", 0) for r in (result, expected))
        assert done <= whole
        assert result.table == expected.table
        assert result.ranking == expected.ranking


@pytest.mark.parametrize("engine", LOCAL)
@pytest.mark.parametrize("architecture", ["mlp_tiny", "resnet_tiny", "vit_tiny", "bert_tiny"])
def test_features_are_those_of_each_model_s_own_forward(
    engine: str, architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SnapshotStore(tmp_path)
    models = synthetic_set(store, architecture, "TWENTY_FIVE_PERCENT", 4)
    found = small_data(architecture)
    seen: dict[str, Any] = {}
    for cls in (MemoryFeatures, DiskFeatures):
        monkeypatch.setattr(cls, "put", _recording(cls.put, seen))
    search(store, found, engine=engine, halve=False, batch_size=8)
    chains = Candidates.of([store.snapshot(model.name) for model in models], found).chains
    for model, chain in zip(models, chains, strict=True):
        for batch, features in seen[chain].items():
            side = found.train if batch.split == "train" else found.test
            plain = plain_features(store, model, side.batch(batch.indices))
            assert torch.equal(features, plain)


@pytest.mark.parametrize("architecture", ["mlp_tiny", "resnet_tiny", "vit_tiny", "bert_tiny"])
def test_features_are_those_of_the_library_s_own_model(
    architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The models come from the library's state dicts, and its own forward is asked."""
    owner = family_of(architecture)
    configuration = owner.configuration(**owner.configurations[architecture])
    store, references = SnapshotStore(tmp_path / "store"), {}
    for index in range(3):
        torch.manual_seed(index)
        reference = references[f"m{index}"] = owner.reference(configuration).eval()
        torch.save(reference.state_dict(), tmp_path / f"m{index}.pt")
        import_state_dict(store, tmp_path / f"m{index}.pt", architecture)
    found = small_data(architecture)
    for engine in LOCAL:
        seen: dict[str, Any] = {}
        with monkeypatch.context() as patch:
            for cls in (MemoryFeatures, DiskFeatures):
                patch.setattr(cls, "put", _recording(cls.put, seen))
            search(store, found, engine=engine, halve=False, batch_size=8)
        candidates = Candidates.of(store.snapshots(), found)
        for model, chain in enumerate(candidates.chains):
            reference = references[candidates.name(model)]
            for batch, features in seen[chain].items():
                side = found.train if batch.split == "train" else found.test
                with torch.inference_mode():
                    own = owner.reference_features(reference, side.batch(batch.indices))
                assert torch.equal(features, own), (engine, batch)


@pytest.mark.parametrize("engine", ["base", "shift", "alsatian"])
def test_processes_that_decode_change_nothing(engine: str, tmp_path: Path) -> None:
    store = store_of(tmp_path, [(0, 1), (0, 2)])
    search(store, items(24), engine=engine)  # after which all files are in the page cache
    alone, helped = (
        search(store, items(24), engine=engine, batch_size=8, num_workers=n) for n in (0, 2)
    )
    assert helped.table == alone.table
    assert helped.work.counts == alone.work.counts


def small_data(architecture: str) -> SearchData:
    few = {"num_train_items": 24, "num_test_items": 8}
    if architecture == "mlp_tiny":
        return data.load("digit_vectors", **few)
    if architecture == "bert_tiny":
        return data.load("docstrings", length=12, **few)
    return data.load("digits", **few)


def _recording(put: Any, seen: dict[str, Any]) -> Any:
    def record(self: Any, found: Any) -> None:
        for chain, batch, features in found:
            seen.setdefault(chain, {})[batch] = features.clone()
        put(self, found)

    return record


def test_identical_models_tie_and_are_ranked_by_name(tmp_path: Path) -> None:
    store = store_of(tmp_path, [(1, 0), (0, 0), (1, 0), (1, 0)])
    result = search(store, items(60), halve=False)
    scores = {item.name: (item.score, item.loss) for item in result.ranking}
    assert scores["m0"] == scores["m2"] == scores["m3"]
    places = {item.name: item.rank for item in result.ranking}
    assert places["m0"] < places["m2"] < places["m3"]


def test_one_and_two_models(tmp_path: Path) -> None:
    store = store_of(tmp_path, [(0, 1), (1, 1)])
    assert search(store, items(20), names=["m1"]).best == "m1"
    assert len(search(store, items(20)).rounds) == 1


def test_the_last_round_of_the_paper_decides_nothing(tmp_path: Path) -> None:
    store = store_of(tmp_path, [(0, i % 3, i // 3) for i in range(6)])
    ours = search(store, items(90))
    exact = search(store, items(90), paper_exact=True)
    assert exact.best == ours.best
    assert exact.rounds[:-1] == ours.rounds
    assert len(exact.rounds[-1].scores) == 1


def test_a_search_says_what_no_search_can_be_made_of(tmp_path: Path) -> None:
    store = store_of(tmp_path, [(0,), (1,), (2,), (0, 1)])
    with pytest.raises(SearchError, match="too few"):
        search(store_of(tmp_path / "many", [(0, i % 3) for i in range(9)]), items(5))
    with pytest.raises(SearchError, match="no models"):
        search(store, items(30), names=[])
    with pytest.raises(SearchError, match="takes vector of 8"):
        search(store, data.load("vectors", width=9, n_train=30, n_test=12))
    with pytest.raises(SearchError, match="two models are named m0"):
        search(store, items(30), names=["m0", "m0"])


@pytest.mark.gpu
def test_cpu_and_cuda_rank_alike(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    store = SnapshotStore(tmp_path)
    synthetic_set(store, "resnet_tiny", "TOP_LAYERS", 12)
    found = data.load("digits", num_train_items=200, num_test_items=50)
    for engine in LOCAL:
        ranked = [
            [item.name for item in search(store, found, engine=engine, device=device).ranking]
            for device in ("cpu", "cuda")
        ]
        assert ranked[0] == ranked[1]


@pytest.mark.gpu
def test_cuda_gives_the_same_bits_for_any_budget(tmp_path: Path) -> None:
    """Memory of blocks that go is taken by others while the device may still compute with it."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    store = SnapshotStore(tmp_path)
    synthetic_set(store, "resnet_tiny", "FIFTY_PERCENT", 12)
    found = data.load("digits", num_train_items=200, num_test_items=50)
    largest = max(block.nbytes for model in store.snapshots() for block in model.blocks)
    free = search(store, found, device="cuda")
    for budget in (12 * largest, 32 * largest):
        narrow = search(store, found, device="cuda", budget=budget)
        assert narrow.table == free.table
        assert narrow.work.counts["block_loads"] > free.work.counts["block_loads"]
