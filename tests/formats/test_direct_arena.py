"""The arena and its threads: bounded, reused, given back, and a child's own after a fork."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from bench_core.formats.direct import ARENA_BYTES, Direct, held_bytes, release_arenas, workers
from bench_core.formats.direct.arena import CHUNK_BYTES, CHUNKS, current
from bench_core.formats.direct.memory import HUGE_BYTES, Pages
from bench_core.formats.direct.per_process import PerProcess


@pytest.fixture(autouse=True)
def released() -> None:
    release_arenas()


def io_threads() -> int:
    return sum(thread.name.startswith("bench-core-io") for thread in threading.enumerate())


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_only_what_was_used_is_held_and_all_is_given_back() -> None:
    assert held_bytes() == 0
    with current().chunk():
        pass
    with current().chunk():
        pass
    assert held_bytes() == CHUNK_BYTES
    release_arenas()
    assert held_bytes() == 0


def test_memory_is_bounded_and_returned_to_the_system(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    tensors = {"t": torch.randint(0, 255, (48 << 20,), dtype=torch.uint8)}
    into = {"t": torch.zeros(48 << 20, dtype=torch.uint8)}
    before = resident_bytes()
    Direct().write(tensors, path)
    with Direct().open(path) as reader:
        reader.read_into(into)
    assert torch.equal(into["t"], tensors["t"])
    assert held_bytes() <= ARENA_BYTES
    assert resident_bytes() - before <= ARENA_BYTES + (8 << 20)
    held = resident_bytes()
    released = held_bytes()
    release_arenas()
    assert held - resident_bytes() >= released // 2


def test_chunks_are_aligned_disjoint_and_waited_for() -> None:
    arena = current()
    barrier = threading.Barrier(CHUNKS + 1)
    lent: list[int] = []

    def borrow() -> None:
        with arena.chunk() as address:
            lent.append(address)
            barrier.wait(10)
            barrier.wait(10)

    with ThreadPoolExecutor(CHUNKS + 1) as pool:
        borrowers = [pool.submit(borrow) for _ in range(CHUNKS)]
        barrier.wait(10)
        assert arena.idle == 0
        late = pool.submit(lambda: arena.chunk().__enter__())
        time.sleep(0.05)
        assert not late.done()
        barrier.wait(10)
        for borrower in borrowers:
            borrower.result(10)
        assert late.result(10) in lent
    assert all(address % HUGE_BYTES == 0 for address in lent)
    assert len({address // CHUNK_BYTES for address in lent}) == CHUNKS


def test_a_chunk_lent_while_the_arena_is_released_stays_usable() -> None:
    with current().chunk() as address:
        release_arenas()
        with current().chunk() as other:
            assert other // CHUNK_BYTES != address // CHUNK_BYTES


def test_jobs_start_in_order_and_no_more_than_the_depth_run() -> None:
    lock, running, most, started = threading.Lock(), [0], [0], []

    def work(job: int) -> None:
        with lock:
            started.append(job)
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.002)
        with lock:
            running[0] -= 1

    workers.run(range(60), work)
    assert sorted(started) == list(range(60))
    assert all(abs(job - i) < workers.DEPTH for i, job in enumerate(started))
    assert 1 < most[0] <= workers.DEPTH
    assert running[0] == 0


def test_one_job_starts_no_thread() -> None:
    release_arenas()
    threads = []
    workers.run([0], lambda job: threads.append(threading.current_thread()))
    assert threads == [threading.main_thread()]


@pytest.mark.parametrize("in_caller", [True, False])
def test_an_exception_stops_the_rest_and_arrives(in_caller: bool) -> None:
    done = []
    running = threading.Event()

    def work(job: int) -> None:
        if (threading.current_thread() is threading.main_thread()) == in_caller:
            running.wait(5)
            raise ArithmeticError(job)
        running.set()
        time.sleep(0.01)
        done.append(job)

    with pytest.raises(ArithmeticError):
        workers.run(range(400), work)
    count = len(done)
    assert count < 100
    time.sleep(0.05)
    assert len(done) == count, "jobs still ran after the call had returned"


def test_without_threads_the_caller_works_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a program that is ending: no new work is taken by any pool."""
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    monkeypatch.setattr(workers, "_pool", PerProcess(lambda: pool))
    done: list[int] = []
    workers.run(range(20), done.append)
    assert done == list(range(20))


def test_threads_end_after_release_and_start_again() -> None:
    workers.run(range(8), lambda job: time.sleep(0.01))
    assert io_threads() > 0
    release_arenas()
    deadline = time.monotonic() + 10
    while io_threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert io_threads() == 0
    done = []
    workers.run(range(8), done.append)
    assert sorted(done) == list(range(8))


def test_a_forked_child_has_its_own(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    tensors = {"t": torch.arange(3 << 20)}
    Direct().write(tensors, path)
    with Direct().open(path) as reader, current().chunk():
        loaded = reader.read()["t"]
        child = os.fork()
        if child == 0:
            status = 1
            try:
                assert held_bytes() == 0
                # By numpy: torch's own threads do not survive a fork.
                same = np.array_equal(reader.read()["t"].numpy(), tensors["t"].numpy())
                Direct().write(tensors, tmp_path / "child.safetensors")
                loaded.numpy().fill(0)
                status = 0 if same and current().idle == CHUNKS else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert torch.equal(loaded, tensors["t"]), "the child changed its parent's tensors"
        assert torch.equal(reader.read()["t"], tensors["t"])
    with Direct().open(tmp_path / "child.safetensors") as reader:
        assert torch.equal(reader.read()["t"], tensors["t"])


def test_one_value_for_threads_that_come_first_at_once() -> None:
    barrier = threading.Barrier(8)

    def make() -> object:
        barrier.wait(10)
        return object()

    value = PerProcess(make)
    with ThreadPoolExecutor(8) as pool:
        values = {id(v) for v in pool.map(lambda _: value.get(), range(8))}
    assert len(values) == 1
    assert value.peek() is value.release()
    assert value.peek() is None


@pytest.mark.parametrize("nbytes", [0, 1, 4096, HUGE_BYTES, 2 * HUGE_BYTES + 4097])
def test_pages_commit_no_more_than_asked_for(nbytes: int) -> None:
    before = resident_bytes()
    pages = Pages(nbytes)
    assert pages.address % (HUGE_BYTES if nbytes >= HUGE_BYTES else 4096) == 0
    assert resident_bytes() - before <= 1 << 20
    torch.frombuffer(pages._map, dtype=torch.uint8)[pages._skipped :][:nbytes].fill_(1)
    assert resident_bytes() - before <= nbytes + (1 << 20)
