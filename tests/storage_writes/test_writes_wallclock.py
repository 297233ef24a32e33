"""Parallel writes in real processes: each task a row, no wait for the dead, nothing left behind."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench_core import models
from bench_core.errors import SaveError, UnknownNameError, UnsupportedError
from bench_core.storage_writes import summarise, task_pool, write_concurrently, write_wallclock
from bench_core.storage_writes.child import Child
from bench_core.storage_writes.task import TaskRequest
from bench_core.storage_writes.task_pool import run_tasks
from bench_core.storage_writes.task_times import STAMPS
from bench_core.storage_writes.wallclock import _changed

MODEL = "stack_4x64KiB"
FORMAT = "direct"

# Stands in for a task, quickly: no torch. Task 1 misbehaves as its `path` says, the others do well.
FAKE_TASK = """
import json, os, signal, sys, time

def main(started_ns):
    request = json.loads(sys.stdin.readline())
    what = request["path"]
    if what == "die":
        sys.exit("Traceback (most recent call last):\\n  ...\\nMemoryError: no room")
    if what == "be killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "hang":
        time.sleep(600)
    if what == "fail":
        print(json.dumps({"error": "no such device"}), flush=True)
        return
    print(json.dumps({"stamps": {"started": started_ns}}), flush=True)
    if not sys.stdin.readline():
        return
    if what == "die writing":
        sys.exit("disk on fire")
    stamps = {"begin": 1, "return": 2, "durable": 3}
    answer = {"stamps": stamps, "bytes_logical": 5, "bytes_physical": 6}
    print(json.dumps(answer), flush=True)
    if sys.stdin.readline():
        wrong = ["a", "b"] if what == "write nonsense" else []
        print(json.dumps({"wrong": wrong}), flush=True)
"""


@pytest.fixture
def fake_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fake_task_of_a_write.py").write_text(FAKE_TASK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(task_pool, "_MODULE", "fake_task_of_a_write")


def request(path: str) -> TaskRequest:
    return TaskRequest(
        target="disk",
        memory="clone",
        format=FORMAT,
        sync="each_task",
        durability="return",
        seed=0,
        path=path,
    )


def test_two_tasks_meet_at_the_barrier_and_leave_nothing(tmp_path: Path) -> None:
    result = write_concurrently(2, model=MODEL, directory=tmp_path, format=FORMAT)
    rows = result.rows
    assert [(row.task, row.status, row.reason) for row in rows] == [
        (0, "ok", None),
        (1, "ok", None),
    ]
    for row in rows:
        assert list(row.stamps) == list(STAMPS)
        assert list(row.stamps.values()) == sorted(row.stamps.values())
        assert row.bytes_logical == 4 * 65536
        assert row.device == "cpu"
    assert min(r.stamps["begin"] for r in rows) >= max(r.stamps["built"] for r in rows)
    assert result.fairness >= 1
    assert result.summary.n_ok == 2
    assert result.summary.makespan_seconds >= max(row.seconds for row in rows)
    assert list(tmp_path.iterdir()) == []


def test_one_flush_at_the_end_makes_all_tasks_durable_at_once(tmp_path: Path) -> None:
    rows = write_wallclock(
        model=MODEL, directory=tmp_path, setup="included", sync="end", n_procs=2, format=FORMAT
    )
    assert [row.status for row in rows] == ["ok", "ok"]
    (durable,) = {row.stamps["durable"] for row in rows}
    assert durable > max(row.stamps["return"] for row in rows)
    spawn = min(row.stamps["spawn"] for row in rows)
    assert summarise(rows).makespan_seconds == (durable - spawn) / 1e9
    assert list(tmp_path.iterdir()) == []


def test_each_tensor_to_disk_and_all_to_memory(tmp_path: Path) -> None:
    (on_disk,) = write_wallclock(
        model=MODEL, directory=tmp_path, sync="each_tensor", format="torch", durability="fdatasync"
    )
    (in_memory,) = write_wallclock(
        model=MODEL, directory=tmp_path, target="memory", memory="shared"
    )
    assert (on_disk.status, in_memory.status) == ("ok", "ok")
    assert on_disk.bytes_physical > on_disk.bytes_logical == 4 * 65536
    assert in_memory.stamps["return"] == in_memory.stamps["durable"]
    assert list(tmp_path.iterdir()) == []


def test_a_task_without_its_device_is_a_row_with_the_reason(tmp_path: Path) -> None:
    (row,) = write_wallclock(model=MODEL, directory=tmp_path, device="xpu:7", format=FORMAT)
    assert row.status == "failed"
    assert row.reason
    assert "xpu" in row.reason.lower()
    assert "imported" in row.stamps or list(row.stamps) == ["spawn"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("die", "the process died (exit status 1): MemoryError: no room"),
        ("be killed", "the process died (signal 9): no message"),
        ("fail", "no such device"),
    ],
)
@pytest.mark.usefixtures("fake_tasks")
def test_who_dies_before_the_barrier_breaks_it_for_all(behaviour: str, reason: str) -> None:
    requests = [request("work"), request(behaviour), request("work")]
    outcomes = run_tasks(requests, at_barrier=True, flush=None, timeout=60)
    broken = "the barrier broke: another task failed before it"
    assert [outcome.reason for outcome in outcomes] == [broken, reason, broken]
    assert all("spawn" in outcome.stamps for outcome in outcomes)


@pytest.mark.usefixtures("fake_tasks")
def test_without_a_barrier_the_others_go_on() -> None:
    requests = [request("work"), request("die")]
    outcomes = run_tasks(requests, at_barrier=False, flush=None, timeout=60)
    assert outcomes[0].reason is None
    assert (outcomes[0].bytes_logical, outcomes[0].bytes_physical) == (5, 6)
    assert outcomes[1].reason is not None


def test_a_process_that_cannot_be_made_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    outcomes = run_tasks([request("work")] * 2, at_barrier=True, flush=None, timeout=60)
    reasons = [outcome.reason or "" for outcome in outcomes]
    assert any(reason.startswith("FileNotFoundError") for reason in reasons)


@pytest.mark.usefixtures("fake_tasks")
def test_a_task_that_hangs_is_killed_and_named() -> None:
    requests = [request("work"), request("hang")]
    outcomes = run_tasks(requests, at_barrier=True, flush=None, timeout=1.5)
    assert outcomes[1].reason == "the process was killed: it had not finished after 1.5 s"
    assert outcomes[0].reason is not None


@pytest.mark.usefixtures("fake_tasks")
def test_wrong_tensors_and_deaths_after_the_barrier_fail_their_own_row_only() -> None:
    flushed = []
    requests = [request("work"), request("write nonsense"), request("die writing")]
    outcomes = run_tasks(requests, at_barrier=True, flush=lambda: flushed.append(1), timeout=60)
    assert [outcome.reason for outcome in outcomes] == [
        None,
        "2 tensors read back differ, the first is 'a'",
        "the process died (exit status 1): disk on fire",
    ]
    assert flushed == [1]
    assert outcomes[0].stamps["durable"] > 3  # the parent's, after the flush
    assert "durable" not in outcomes[2].stamps


@pytest.mark.usefixtures("fake_tasks")
def test_an_error_in_the_parent_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    children: list[Child] = []

    class Watched(Child):
        def __init__(self, module: str, *, timeout: float | None = None) -> None:
            super().__init__(module, timeout=timeout)
            children.append(self)

    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(task_pool, "Child", Watched)
    with pytest.raises(KeyboardInterrupt):
        run_tasks([request("work")] * 2, at_barrier=True, flush=interrupt, timeout=60)
    assert [child._process.poll() for child in children] == [-9, -9]


def test_changed_layers_are_each_tasks_own() -> None:
    specs = models.specs("nt3_small")
    states = [models.random_tensors(_changed(specs, 2, task)) for task in range(2)]
    digests = [{block.parameters for block in models.blocks(state)} for state in states]
    assert len(digests[0]) == len(digests[1]) == 5
    assert len(digests[0] & digests[1]) == 2
    assert [name for name in states[0] if name in states[1]] == list(specs)[:4]
    assert _changed(specs, None, 1) == specs


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"setup": "include"}, "setup 'include'; expected one of included, excluded"),
        ({"sync": "each-task"}, "did you mean 'each_task'"),
        ({"target": "tape"}, "unknown target 'tape'"),
        ({"model": "resnet_18"}, "did you mean 'resnet18'"),
        ({"format": "zip"}, "unknown format 'zip'"),
        ({"durability": "always"}, "unknown durability 'always'"),
        ({"target": "memory", "memory": "heap"}, "unknown memory target 'heap'"),
    ],
)
def test_a_wrong_option_is_one_clear_line(
    tmp_path: Path, options: dict[str, str], message: str
) -> None:
    arguments: dict[str, object] = {"model": MODEL, "directory": tmp_path, **options}
    with pytest.raises(UnknownNameError, match=message):
        write_wallclock(**arguments)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_no_tasks_and_no_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="n_procs is 0"):
        write_wallclock(model=MODEL, directory=tmp_path, n_procs=0)
    with pytest.raises(SaveError, match="choose another folder"):
        write_wallclock(model=MODEL, directory=tmp_path / "nowhere")
