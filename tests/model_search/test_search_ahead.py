"""Work on later rounds while blocks are read: sure to be needed, and no bit or count is changed."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_sets import chains, items, model_sets, store_of

from bench_core.model_search import BudgetError, search
from bench_core.model_search.block_cache import BlockCache
from bench_core.model_search.planning import PrefixTree, sure_path
from bench_core.model_search.work_ahead import WorkAhead
from bench_core.snapshots import SnapshotStore

COUNTS = ("block_executions", "item_blocks", "items_decoded", "block_loads")
NEVER, ALWAYS = 0, 10_000
TRUNK = [(0, 1, i % 3, i // 3) for i in range(9)]
"""Nine models with a common beginning."""


@contextlib.contextmanager
def steps_a_wait(most: int) -> Iterator[list[bool]]:
    """Make every wait for a block long enough for so many steps; yield which steps found work."""
    found: list[bool] = []

    def wait(self: BlockCache, loading: Future[None], meanwhile: Callable[[], bool]) -> None:
        for _ in range(most):
            found.append(meanwhile())
            if not found[-1]:
                break
        loading.result()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BlockCache, "wait", wait)
        yield found


@given(models=st.lists(chains, min_size=2, max_size=7), data=st.data())
def test_what_is_sure_is_needed_by_whichever_models_are_left(
    models: list[tuple[int, ...]], data: st.DataObject
) -> None:
    tree = PrefixTree.of([[str(block) for block in chain] for chain in models])
    live = data.draw(st.lists(st.sampled_from(range(len(models))), min_size=2, unique=True))
    n_left = data.draw(st.integers(1, len(live)))
    path = sure_path(tree, tree.models_through(live), len(live) - n_left)
    keys = [tree.key(node) for node in path]
    for left in itertools.combinations(live, n_left):
        assert any([str(b) for b in models[m]][: len(keys)] == keys for m in left)


def test_the_sure_path_ends_where_all_models_behind_may_drop_out() -> None:
    tree = PrefixTree.of(["abx", "aby", "abz", "acx", "acy"])
    through = tree.models_through()

    def path(n_left: int) -> str:
        return "".join(tree.key(node) for node in sure_path(tree, through, 5 - n_left))

    # Three of five have "ab": one of them is left when no more than two drop out.
    assert [path(n_left) for n_left in (1, 2, 3)] == ["a", "a", "ab"]


@given(
    models=model_sets,
    most=st.sampled_from([1, 3, ALWAYS]),
    batch_size=st.integers(1, 20),
    factor=st.integers(2, 3),
    winners=st.integers(1, 3),
    n_train=st.integers(60, 90),
)
@settings(deadline=None, max_examples=25)
def test_working_ahead_changes_neither_a_bit_nor_a_count(
    models: list[tuple[int, ...]],
    most: int,
    batch_size: int,
    factor: int,
    winners: int,
    n_train: int,
) -> None:
    options = {"batch_size": batch_size, "factor": factor, "winners": winners}
    with tempfile.TemporaryDirectory() as folder:
        store, found = store_of(Path(folder), models), items(n_train)
        with steps_a_wait(NEVER):
            expected = search(store, found, **options)
        with steps_a_wait(most):
            result = search(store, found, **options)
    assert result.table == expected.table
    counts = expected.work.counts
    assert {name: result.work.counts[name] for name in COUNTS} == {n: counts[n] for n in COUNTS}
    # Several base models start from one input where it was made ahead.
    assert result.work.counts["inputs_made"] <= counts["inputs_made"]


@given(models=model_sets, batch_size=st.integers(1, 20), extra=st.integers(0, 6000))
@settings(deadline=None, max_examples=15)
def test_working_ahead_stays_within_the_budget(
    models: list[tuple[int, ...]], batch_size: int, extra: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, steps_a_wait(ALWAYS):
        store, found = store_of(Path(folder), models), items(1600)
        expected = search(store, found, batch_size=batch_size, proxy="ridge")
        budget = _enough(store, found, batch_size) + extra
        result = search(store, found, batch_size=batch_size, proxy="ridge", budget=budget)
    assert result.table == expected.table
    assert result.work.peak_activation_bytes + result.work.peak_block_bytes <= budget


def _enough(store: SnapshotStore, found: Any, batch_size: int) -> int:
    try:
        search(store, found, batch_size=batch_size, budget=1)
    except BudgetError as error:
        return int(str(error).split("at least ")[1].split(" ")[0].replace(",", ""))
    raise AssertionError("one byte is no budget")


def test_the_common_beginning_is_through_with_all_items_after_the_first_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, found = store_of(tmp_path, TRUNK), items(90)
    taken: list[int] = []

    def take(self: WorkAhead, *args: Any) -> tuple[int, Any]:
        n_done, output = original(self, *args)
        taken.append(n_done)
        return n_done, output

    original = WorkAhead.take
    monkeypatch.setattr(WorkAhead, "take", take)
    with steps_a_wait(ALWAYS) as steps:
        result = search(store, found, batch_size=8)
    assert any(steps)
    # Two blocks are common to all; with three rounds after the first none of them runs them.
    later = sum(-(-(r.stop - r.start) // 8) for r in result.rounds[1:])
    assert sum(taken) >= 2 * later


def test_without_room_nothing_is_done_ahead(tmp_path: Path) -> None:
    store, found = store_of(tmp_path, TRUNK), items(90)
    with steps_a_wait(ALWAYS) as steps:
        search(store, found, batch_size=8, budget=_enough(store, found, 8))
    assert steps
    assert not any(steps)


@pytest.mark.parametrize("stop", [1, 10, 25])
def test_what_a_journal_has_is_not_done_ahead(tmp_path: Path, stop: int) -> None:
    class Stopped(Exception):
        pass

    def stop_there(done: int, total: int) -> None:
        if done >= stop:
            raise Stopped

    store, found = store_of(tmp_path / "store", TRUNK), items(90)
    journal = tmp_path / "journal.sqlite"
    with steps_a_wait(ALWAYS):
        expected = search(store, found, batch_size=8)
        with pytest.raises(Stopped):
            search(store, found, batch_size=8, journal=journal, progress=stop_there)
        result = search(store, found, batch_size=8, journal=journal)
        again = search(store, found, batch_size=8, journal=journal)
    assert result.table == again.table == expected.table
    assert result.work.counts["item_blocks"] <= expected.work.counts["item_blocks"]
    assert "item_blocks" not in again.work.counts


@pytest.mark.parametrize("left_out", ["m0", "m4", "m8"])
def test_where_a_journal_has_other_models_nothing_is_done_in_vain(
    tmp_path: Path, left_out: str
) -> None:
    """Their features are there, of later rounds too, and need no common beginning."""
    store, found = store_of(tmp_path / "store", [*TRUNK, (0, 1, 2, 0)]), items(90)
    first, then = ([n for n in store.names() if n != out] for out in (left_out, "m9"))
    counts = []
    for most in (NEVER, ALWAYS):
        options = {"batch_size": 8, "journal": tmp_path / f"journal-{most}.sqlite"}
        search(store, found, names=first, **options)
        with steps_a_wait(most):
            result = search(store, found, names=then, **options)
        counts.append(result.work.counts["item_blocks"])
    assert counts[0] == counts[1]


def test_models_with_a_damaged_block_drop_out_and_the_rest_goes_on(tmp_path: Path) -> None:
    store, found = store_of(tmp_path, TRUNK), items(90)
    damaged = store.snapshot("m8").blocks[-1]
    others = _without(store, damaged.key)
    with steps_a_wait(ALWAYS):
        expected = search(store, found, names=others, batch_size=8)
        store.block_path(damaged).write_bytes(b"no block")
        result = search(store, found, batch_size=8, skip_unusable=True)
    assert result.best == expected.best
    assert {item.name for item in result.rounds[0].scores} == set(others)


def _without(store: SnapshotStore, key: str) -> Sequence[str]:
    return [s.name for s in store.snapshots() if key not in {block.key for block in s.blocks}]
