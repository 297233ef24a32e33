"""The watcher, step by step, with a drop that only counts."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from prevent_caching import watcher as watcher_module
from prevent_caching.errors import DropRefused
from prevent_caching.exchange import (
    HEARTBEAT,
    LEASE_SECONDS,
    Answer,
    Heartbeat,
    Request,
    answer_name,
    read_record,
    request_name,
    write_record,
)
from prevent_caching.watcher import LEFTOVER_SECONDS, MAX_REQUESTS, Watcher


class CountedDrop:
    """Counts drops; waits for `open_gate` first; raises `error` if there is one."""

    def __init__(self) -> None:
        self.count = 0
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self) -> None:
        self.count += 1
        assert self.gate.wait(20)
        if self.error is not None:
            raise self.error


@pytest.fixture
def drop() -> CountedDrop:
    return CountedDrop()


@pytest.fixture
def watcher(descriptor: int, drop: CountedDrop) -> Iterator[Watcher]:
    made = Watcher(descriptor, drop, level=1, minimum_interval=0.0)
    yield made
    # A drop that outlives its test would answer into the next one's directory.
    drop.gate.set()
    if made._worker is not None:
        made._worker.join()


def post(descriptor: int, number: int, age: float = 0.0) -> str:
    identity = f"{number:032x}"
    name = request_name(identity)
    modified = write_record(descriptor, name, Request(identity, 1, "requester"))
    os.utime(name, (modified - age, modified - age), dir_fd=descriptor)
    return identity


def step_until(watcher: Watcher, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline
        watcher.step()
        time.sleep(0.002)


def answered(directory: Path, identity: str) -> bool:
    gone = not (directory / request_name(identity)).exists()
    return gone and (directory / answer_name(identity)).exists()


def answer(descriptor: int, identity: str) -> Answer:
    return read_record(descriptor, answer_name(identity), Answer)[0]


def heartbeat(descriptor: int) -> Heartbeat:
    return read_record(descriptor, HEARTBEAT, Heartbeat)[0]


def test_a_request_is_answered_with_its_own_id(
    watcher: Watcher, directory: Path, descriptor: int, drop: CountedDrop
) -> None:
    identity = post(descriptor, 7)
    step_until(watcher, lambda: answered(directory, identity))
    found = answer(descriptor, identity)
    assert (found.identity, found.status, found.reason, found.level) == (identity, "ok", "", 1)
    assert found.seconds >= 0
    assert drop.count == 1


def test_one_drop_answers_all_that_waited(
    watcher: Watcher, directory: Path, descriptor: int, drop: CountedDrop
) -> None:
    identities = [post(descriptor, number) for number in range(5)]
    step_until(watcher, lambda: all(answered(directory, identity) for identity in identities))
    assert {answer(descriptor, identity).identity for identity in identities} == set(identities)
    assert drop.count == 1


def test_a_request_made_during_a_drop_waits_for_the_next(
    watcher: Watcher, directory: Path, descriptor: int, drop: CountedDrop
) -> None:
    drop.gate.clear()
    first = post(descriptor, 1)
    step_until(watcher, lambda: drop.count == 1)
    second = post(descriptor, 2)
    watcher.step()
    drop.gate.set()
    step_until(watcher, lambda: answered(directory, first))
    assert not answered(directory, second)
    step_until(watcher, lambda: answered(directory, second))
    assert drop.count == 2


def test_the_heartbeat_goes_on_during_a_drop(
    watcher: Watcher, descriptor: int, drop: CountedDrop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher_module, "HEARTBEAT_SECONDS", 0.0)
    watcher.step()
    before = heartbeat(descriptor)
    drop.gate.clear()
    post(descriptor, 1)
    step_until(watcher, lambda: drop.count == 1)
    for _ in range(3):
        watcher.step()
    after = heartbeat(descriptor)
    assert (before.state, after.state) == ("idle", "dropping")
    assert after.sequence >= before.sequence + 3
    assert (after.watcher, after.pid) == (before.watcher, os.getpid())


def test_a_request_that_its_requester_no_longer_renews_is_removed_without_a_drop(
    watcher: Watcher,
    directory: Path,
    descriptor: int,
    drop: CountedDrop,
    caplog: pytest.LogCaptureFixture,
) -> None:
    identity = post(descriptor, 1, age=LEASE_SECONDS + 7)
    watcher.step()
    assert not (directory / request_name(identity)).exists()
    assert not (directory / answer_name(identity)).exists()
    assert drop.count == 0
    assert "has not been renewed by its requester for 10." in caplog.text


def test_the_least_interval_between_drops_is_kept(
    descriptor: int, directory: Path, drop: CountedDrop
) -> None:
    watcher = Watcher(descriptor, drop, minimum_interval=3600)
    first = post(descriptor, 1)
    step_until(watcher, lambda: answered(directory, first))
    # The worker ends after its last answer.
    step_until(watcher, lambda: not watcher._dropping())
    second = post(descriptor, 2)
    for _ in range(20):
        watcher.step()
    assert drop.count == 1
    assert (directory / request_name(second)).exists()


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (DropRefused("user 7 may not"), "refused", "user 7 may not"),
        (OSError(5, "broken"), "error", "OSError: [Errno 5] broken"),
        (RuntimeError("unforeseen"), "error", "RuntimeError: unforeseen"),
    ],
)
def test_a_failed_drop_is_answered_with_its_reason(
    watcher: Watcher,
    directory: Path,
    descriptor: int,
    drop: CountedDrop,
    error: Exception,
    status: str,
    reason: str,
) -> None:
    drop.error = error
    identity = post(descriptor, 1)
    step_until(watcher, lambda: answered(directory, identity))
    found = answer(descriptor, identity)
    assert (found.status, found.reason) == (status, reason)


def test_garbage_is_removed_with_a_line_and_stops_nobody(
    watcher: Watcher,
    directory: Path,
    descriptor: int,
    drop: CountedDrop,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("root:hunter2")
    names = [request_name(f"{number:032x}") for number in range(5)]
    (directory / names[0]).write_bytes(b"\xff" * 100)
    (directory / names[1]).write_bytes(b"x" * 1_000_000)
    (directory / names[2]).symlink_to(secret)
    os.mkfifo(directory / names[3])
    os.link(secret, directory / names[4])
    (directory / "unrelated.json").write_text("{")
    good = post(descriptor, 99)
    step_until(watcher, lambda: answered(directory, good))
    assert drop.count == 1
    assert not any(os.path.lexists(directory / name) for name in names)
    assert all(name in caplog.text for name in names)
    assert secret.read_text() == "root:hunter2"
    assert "hunter2" not in caplog.text
    assert (directory / "unrelated.json").exists()


def test_a_request_under_anothers_name_is_refused(
    watcher: Watcher, directory: Path, descriptor: int, drop: CountedDrop
) -> None:
    write_record(descriptor, request_name("a" * 32), Request("b" * 32, 1, "requester"))
    watcher.step()
    assert list(directory.iterdir()) == [directory / HEARTBEAT]
    assert drop.count == 0


def test_what_cannot_be_removed_is_said_once(
    watcher: Watcher, directory: Path, descriptor: int, caplog: pytest.LogCaptureFixture
) -> None:
    name = request_name("c" * 32)
    (directory / name).mkdir()
    for _ in range(5):
        watcher.step()
    assert caplog.text.count(f"left {name}") == 1
    (directory / name).rmdir()
    watcher.step()
    identity = post(descriptor, int("c" * 32, 16))
    step_until(watcher, lambda: answered(directory, identity))


def test_a_flooded_directory_costs_a_bounded_round(watcher: Watcher, directory: Path) -> None:
    for number in range(MAX_REQUESTS + 10):
        (directory / request_name(f"{number:032x}")).touch()
    watcher.step()
    assert len(list(directory.glob("request-*"))) == 10
    watcher.step()
    assert not list(directory.glob("request-*"))


def test_a_hostname_cannot_forge_a_log_line(
    watcher: Watcher, directory: Path, descriptor: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    identity = "d" * 32
    hostile = "a\n2030-01-01 everything is fine\x1b[2J" + "x" * 500
    write_record(descriptor, request_name(identity), Request(identity, 1, hostile))
    step_until(watcher, lambda: answered(directory, identity))
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.isprintable()
    assert len(line) < 200


def test_answers_that_nobody_fetched_are_removed_after_a_while(
    watcher: Watcher, directory: Path, descriptor: int
) -> None:
    old, young = post(descriptor, 1), post(descriptor, 2)
    step_until(watcher, lambda: answered(directory, old) and answered(directory, young))
    before = time.time() - LEFTOVER_SECONDS - 10
    os.utime(directory / answer_name(old), (before, before))
    watcher._clean(time.monotonic())
    assert not (directory / answer_name(old)).exists()
    assert (directory / answer_name(young)).exists()


def test_a_stopped_watcher_takes_its_heartbeat_away(
    watcher: Watcher, directory: Path, descriptor: int
) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=watcher.serve, args=[stop, 0.005])
    thread.start()
    identity = post(descriptor, 1)
    deadline = time.monotonic() + 20
    while not answered(directory, identity) and time.monotonic() < deadline:
        time.sleep(0.005)
    stop.set()
    thread.join()
    assert list(directory.iterdir()) == [directory / answer_name(identity)]


def test_a_removed_directory_ends_the_watcher(watcher: Watcher, directory: Path) -> None:
    directory.rmdir()
    watcher.serve(threading.Event(), 0.005)
