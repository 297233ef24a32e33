"""Worker processes that outlive a search: what each of them has open, and for whom."""

from __future__ import annotations

import shutil
from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from evolution_cases import SETTINGS, setup

from bench_core.weight_transfer import open_store
from bench_core.weight_transfer.evolution import AgingEvolution, Candidate, search
from bench_core.weight_transfer.evolution import engines as engines_module
from bench_core.weight_transfer.evolution.engines import Pool
from bench_core.weight_transfer.evolution.worker import evaluate, new_run
from bench_core.weight_transfer.methods import StoreMethod, TransferMethod
from bench_core.weight_transfer.tasks import TaskRecipe


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[StoreMethod]:
    """Methods that were closed."""
    found: list[StoreMethod] = []
    close = StoreMethod.close

    def noted(self: StoreMethod) -> None:
        found.append(self)
        close(self)

    monkeypatch.setattr(StoreMethod, "close", noted)
    return found


class OneProcess(Executor):
    """A pool of this process alone, which therefore outlives every search."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def first(model: int) -> Candidate:
    return replace(AgingEvolution(setup().space, SETTINGS).ask(), model=model)


def stored(folder: Path) -> list[int]:
    with open_store([f"files:{folder / 'models'}"]) as store:
        return store.models()


def test_candidates_of_one_search_find_everything_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: list[StoreMethod]
) -> None:
    opened = []
    open_task = TaskRecipe.open
    monkeypatch.setattr(TaskRecipe, "open", lambda self: opened.append(self) or open_task(self))
    run = new_run()
    evaluate(run, setup(tmp_path), first(1))
    before = list(closed)  # what an earlier test left open
    evaluate(run, setup(tmp_path), first(2))
    assert len(opened) == 1 and closed == before
    assert stored(tmp_path) == [1, 2]


def test_the_next_search_has_a_store_of_its_own_though_it_is_described_alike(
    tmp_path: Path, closed: list[StoreMethod]
) -> None:
    evaluate(new_run(), setup(tmp_path), first(1))
    before = len(closed)
    shutil.rmtree(tmp_path / "models")
    evaluate(new_run(), setup(tmp_path), first(1))
    assert len(closed) == before + 1
    assert stored(tmp_path) == [1]


def test_a_search_that_cannot_begin_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: list[StoreMethod]
) -> None:
    run = new_run()
    evaluate(new_run(), setup(tmp_path), first(1))
    before = len(closed)

    def fails(self: TaskRecipe) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched, pytest.raises(ZeroDivisionError):
        patched.setattr(TaskRecipe, "open", fails)
        evaluate(run, setup(tmp_path), first(2))
    assert len(closed) == before + 2
    evaluate(run, setup(tmp_path), first(2))
    assert stored(tmp_path) == [1, 2]


def test_two_searches_on_the_same_workers_do_not_meet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pool(setup_: Any, workers: int, method: TransferMethod) -> Pool:
        return Pool(setup_, OneProcess())

    monkeypatch.setattr(engines_module, "_ENGINES", {"processes": pool})
    settings = replace(SETTINGS, is_synchronous=True)
    found = []
    for _ in range(2):
        found.append(search(setup(tmp_path), settings, engine="processes"))
        shutil.rmtree(tmp_path / "models")
    assert [one.candidate for one in found[0].arrivals] == [
        one.candidate for one in found[1].arrivals
    ]
