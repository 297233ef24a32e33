"""Killed and colliding writers, full disks, and the garbage collection beside them."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from store_cases import (
    LARGE,
    add_and_remove,
    add_models,
    add_one,
    assert_stored,
    context,
    files_of,
    spec_of,
    tensors_of,
)

from bench_core.errors import SaveError
from bench_core.snapshots import (
    ModelExistsError,
    Snapshot,
    SnapshotStore,
    StoreBusyError,
    gc,
    unique_bytes,
    verify,
)
from bench_core.snapshots.locks import locked
from bench_core.snapshots.manifests import Manifests

SEEDS = range(1, 9)

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="mounts and forks as Linux does")


@pytest.fixture
def store(tmp_path: Path) -> SnapshotStore:
    return SnapshotStore(tmp_path / "store")


@pytest.fixture
def small_disk(make_small_disk: Callable[[int], Path]) -> Path:
    return make_small_disk(16)


def kill_while_adding(store: SnapshotStore, generator: random.Random) -> None:
    begun = context().Event()
    process = context().Process(target=add_models, args=(store.folder, list(SEEDS), begun))
    process.start()
    assert begun.wait(60), "the writer has not begun"
    wanted = generator.randrange(len(SEEDS) - 2)
    while len(store.names()) < wanted and process.is_alive():
        time.sleep(0.001)
    time.sleep(generator.uniform(0.0, 0.04))
    process.kill()
    process.join()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> SnapshotStore:
    """Return a store to which all models were added without an interruption."""
    store = SnapshotStore(tmp_path_factory.mktemp("whole"))
    for seed in SEEDS:
        add_one(store, seed, tensors_of(0, LARGE)[:2])
    return store


@pytest.mark.parametrize(
    "tries",
    [pytest.param(4, id="short"), pytest.param(60, id="long", marks=pytest.mark.slow)],
)
@linux_only
def test_killed_while_adding(tmp_path: Path, whole: SnapshotStore, tries: int) -> None:
    generator, interrupted = random.Random(7), 0
    for number in range(tries):
        store = SnapshotStore(tmp_path / f"store-{number}")
        kill_while_adding(store, generator)
        assert verify(store).is_whole
        interrupted += bool(files_of(store)) and len(store.names()) < len(SEEDS)
        for seed in SEEDS:
            add_one(store, seed, tensors_of(0, LARGE)[:2])
        gc(store)
        assert verify(store).is_whole and files_of(store) == files_of(whole)
        assert store.snapshots() == whole.snapshots()
        shutil.rmtree(store.folder)
    assert interrupted, "no writer was killed in the middle of its work"


def test_killed_before_the_manifest(store: SnapshotStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(self: Manifests, snapshot: Snapshot) -> Snapshot:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Manifests, "write", die)
        with pytest.raises(KeyboardInterrupt):
            store.add("a", spec_of(), tensors_of(1))
    assert store.names() == []
    blocks = {path: path.stat().st_ino for _, path in store.blocks.files()}
    assert len(blocks) == len(verify(store).orphans) == 4
    store.add("a", spec_of(), tensors_of(1))
    assert {path: path.stat().st_ino for _, path in store.blocks.files()} == blocks
    assert_stored(store, "a", tensors_of(1))


@linux_only
def test_two_writers_of_the_same_models(store: SnapshotStore, whole: SnapshotStore) -> None:
    begun = context().Event()
    arguments = (store.folder, list(SEEDS), begun)
    writers = [context().Process(target=add_models, args=arguments) for _ in range(2)]
    for process in writers:
        process.start()
    while any(process.is_alive() for process in writers):
        for snapshot in store.snapshots():
            for ref in snapshot.blocks:
                store.check_block(ref)
    for process in writers:
        process.join()
        assert process.exitcode == 0
    assert verify(store).is_whole
    assert files_of(store) == files_of(whole)


def test_of_two_models_of_one_name_one_is_stored(store: SnapshotStore) -> None:
    together = threading.Barrier(2)

    def add(seed: int) -> int | None:
        together.wait()
        try:
            store.add("a", spec_of(), tensors_of(seed))
        except ModelExistsError:
            return None
        return seed

    with ThreadPoolExecutor(2) as pool:
        (stored,) = [seed for seed in pool.map(add, (1, 2)) if seed is not None]
    assert_stored(store, "a", tensors_of(stored))


def test_full_disk(small_disk: Path) -> None:
    store, shared = SnapshotStore(small_disk / "store"), tensors_of(0, LARGE)[:2]
    with pytest.raises(SaveError, match="No space left") as error:
        for seed in SEEDS:
            add_one(store, seed, shared)
    assert "\n" not in str(error.value)
    names = store.names()
    assert 0 < len(names) < len(SEEDS)
    assert verify(store).is_whole
    assert not store.blocks.temporaries() and not store.manifests.temporaries()
    gc(store)
    assert len(list(store.blocks.files())) == len(
        {ref.key for model in store.snapshots() for ref in model.blocks}
    )
    store.remove(names[0])
    assert gc(store).nbytes > 0
    add_one(store, 1, shared)
    assert verify(store).is_whole


def test_a_read_only_store_can_be_read(small_disk: Path) -> None:
    store = SnapshotStore(small_disk / "store")
    store.add("a", spec_of(), tensors_of(1))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert_stored(store, "a", tensors_of(1))
    assert verify(store).is_whole
    changes: list[Callable[[], object]] = [
        lambda: store.add("b", spec_of(), tensors_of(2)),
        lambda: store.remove("a"),
        lambda: gc(store),
        lambda: SnapshotStore(small_disk / "other").add("a", spec_of(), tensors_of(1)),
    ]
    for change in changes:
        with pytest.raises(SaveError, match=r"disk.*(?i:read-only)"):
            change()


def test_gc_removes_what_no_model_has(store: SnapshotStore) -> None:
    kept = store.add("a", spec_of(), tensors_of(1), replace=True)
    other = store.add("b", spec_of(), [*tensors_of(1)[:1], *tensors_of(2)[1:]])
    store.remove("b")
    foreign = store.folder / "blocks" / kept.blocks[0].key[:2] / "notes.txt"
    foreign.write_text("not the store's")
    left = [
        store.block_path(kept.blocks[0]).with_name(".x.safetensors.host.1.0-0.tmp"),
        store.folder / "models" / ".b.json.host.1.0-0.tmp",
    ]
    for path in left:
        path.write_bytes(b"half")
    before = files_of(store)
    planned = gc(store, dry_run=True)
    assert files_of(store) == before
    expected = {store.block_path(ref) for ref in other.blocks[1:]}
    assert set(planned.blocks) == expected and set(planned.temporaries) == set(left)
    assert planned.nbytes == sum(path.stat().st_size for path in (*expected, *left))
    assert gc(store) == planned
    assert foreign.exists() and not any(path.exists() for path in (*expected, *left))
    assert_stored(store, "a", tensors_of(1))
    assert gc(store).nbytes == 0


def test_gc_of_nothing(store: SnapshotStore) -> None:
    assert gc(store).blocks == ()
    assert not store.folder.exists()


def test_gc_leaves_a_writer_s_blocks_alone(
    store: SnapshotStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, refusals = Manifests.write, []

    def write_after_gc(self: Manifests, snapshot: Snapshot) -> Snapshot:
        with pytest.raises(StoreBusyError, match="at work on this store") as error:
            gc(store, patience_s=0.05)
        refusals.append(error)
        return write(self, snapshot)

    monkeypatch.setattr(Manifests, "write", write_after_gc)
    store.add("a", spec_of(), tensors_of(1))
    assert refusals
    assert gc(store).blocks == ()
    assert_stored(store, "a", tensors_of(1))


def test_a_writer_waits_for_gc(store: SnapshotStore) -> None:
    store.add("a", spec_of(), tensors_of(1))
    with ThreadPoolExecutor(1) as pool:
        with locked(store.blocks_lock, shared=False):
            adding = pool.submit(store.add, "b", spec_of(), tensors_of(2))
            time.sleep(0.1)
            assert store.names() == ["a"] and not adding.done()
        adding.result(timeout=60)
    assert_stored(store, "b", tensors_of(2))


@linux_only
def test_gc_beside_a_writer_at_work(store: SnapshotStore) -> None:
    process = context().Process(target=add_and_remove, args=(store.folder, 60))
    process.start()
    collected = 0
    while process.is_alive():
        collected += len(gc(store).blocks)
        time.sleep(0.002)
    process.join()
    assert process.exitcode == 0
    collected += len(gc(store).blocks)
    assert collected == 30 * 4
    assert verify(store).is_whole
    assert len(store.names()) == 30


def test_bytes_of_a_store_are_those_of_its_distinct_blocks(whole: SnapshotStore) -> None:
    on_disk = sum(path.stat().st_size for _, path in whole.blocks.files())
    assert on_disk <= 1.05 * unique_bytes(whole.snapshots())
