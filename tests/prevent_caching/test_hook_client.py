"""The requester: what it gets, what it says when something is wrong, what it leaves behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from prevent_caching import drop as drop_module
from prevent_caching import pulse
from prevent_caching.client import DIRECTORY_VARIABLE, request_drop
from prevent_caching.drop import boot_id
from prevent_caching.errors import DropRefused
from prevent_caching.exchange import HEARTBEAT, Heartbeat, write_record
from prevent_caching.watcher import Watcher


@contextmanager
def serving(descriptor: int, drop: Callable[[], object]) -> Iterator[Watcher]:
    """Run a watcher in a thread."""
    watcher = Watcher(descriptor, drop, minimum_interval=0.0)
    watcher.step()
    stop = threading.Event()
    thread = threading.Thread(target=watcher.serve, args=[stop, 0.005])
    thread.start()
    try:
        yield watcher
    finally:
        stop.set()
        thread.join()


def beat(descriptor: int, *, age: float = 0.0, boot: str = "") -> None:
    """Leave one heartbeat of a watcher that is not there."""
    modified = write_record(descriptor, HEARTBEAT, Heartbeat("w", 4242, boot, 1, "idle", 3, 0))
    os.utime(HEARTBEAT, (modified - age, modified - age), dir_fd=descriptor)


def wait_for_request(directory: Path) -> Path:
    deadline = time.monotonic() + 20
    while not (found := list(directory.glob("request-*"))):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return found[0]


@pytest.fixture
def no_control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a control file that this process may not write, and name no host."""
    monkeypatch.delenv(DIRECTORY_VARIABLE, raising=False)
    return tmp_path / "no" / "drop_caches"


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a file in the place of the kernel's, with no global sync."""
    monkeypatch.setattr(drop_module.os, "sync", lambda: None)
    file = tmp_path / "drop_caches"
    file.touch()
    return file


def test_the_host_drops_for_a_requester_and_nothing_is_left(
    directory: Path, descriptor: int
) -> None:
    drops: list[int] = []
    with serving(descriptor, lambda: drops.append(1)):
        result = request_drop(directory, 20)
    assert (result.how, result.level, len(drops)) == ("host", 3, 1)
    assert re.fullmatch("[0-9a-f]{32}", result.requested_id)
    assert 0 < result.seconds < 20
    assert result.same_kernel is (True if boot_id() else None)
    assert list(directory.iterdir()) == []


def test_many_requesters_at_once_all_get_their_own_answer(directory: Path, descriptor: int) -> None:
    drops: list[int] = []
    gate = threading.Event()

    def drop() -> None:
        drops.append(1)
        assert gate.wait(20)

    with serving(descriptor, drop), ThreadPoolExecutor(8) as pool:
        first = pool.submit(request_drop, directory, 20)
        wait_for_request(directory)
        while not drops:
            time.sleep(0.005)
        others = [pool.submit(request_drop, directory, 20) for _ in range(7)]
        while len(list(directory.glob("request-*.json"))) < 8:
            time.sleep(0.005)
        gate.set()
        results = [future.result() for future in (first, *others)]
    assert len({result.requested_id for result in results}) == 8
    assert len(drops) == 2
    assert list(directory.iterdir()) == []


def test_the_environment_names_the_directory(
    directory: Path, descriptor: int, no_control: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(directory))
    with serving(descriptor, lambda: None):
        assert request_drop(timeout=20, control=no_control).how == "host"


def test_a_process_that_may_drops_directly(control: Path) -> None:
    result = request_drop(level=1, control=control)
    assert (result.how, result.requested_id, result.level) == ("direct", "", 1)
    assert control.read_text() == "1\n"


def test_a_named_directory_is_asked_even_where_direct_is_possible(
    directory: Path, descriptor: int, control: Path
) -> None:
    with serving(descriptor, lambda: None):
        assert request_drop(directory, 20, control=control).how == "host"
    assert control.read_text() == ""


def test_without_permission_and_without_a_host_both_ways_are_named(no_control: Path) -> None:
    with pytest.raises(DropRefused) as caught:
        request_drop(control=no_control)
    assert str(no_control) in str(caught.value)
    assert "prevent_caching.host" in str(caught.value)
    assert DIRECTORY_VARIABLE in str(caught.value)


def test_a_direct_drop_that_the_kernel_refuses_is_one_line(control: Path) -> None:
    control.unlink()
    control.mkdir()
    with pytest.raises(DropRefused, match=r"may not write .* \(Is a directory\)"):
        request_drop(control=control)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(DropRefused, match=r"absent cannot be opened \(No such file"):
        request_drop(tmp_path / "absent")


def test_an_absent_watcher_is_told_at_once(directory: Path) -> None:
    with pytest.raises(DropRefused, match=r"no host watcher: .* holds no heartbeat"):
        request_drop(directory, 600)
    assert list(directory.iterdir()) == []


def test_a_watcher_that_died_before_is_told_with_its_age(
    directory: Path, descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "BENEFIT_OF_DOUBT_SECONDS", 0.1)
    beat(descriptor, age=3600)
    with pytest.raises(DropRefused, match=r"heartbeat of process 4242 stopped 3600\.\d s ago"):
        request_drop(directory, 600)
    assert list(directory.iterdir()) == [directory / HEARTBEAT]


def test_an_old_heartbeat_that_moves_is_alive_whatever_the_clocks_say(
    directory: Path, descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watcher's file times may lag, its sequence cannot."""
    monkeypatch.setattr(
        "prevent_caching.watcher.write_record",
        lambda folder, name, record: _write_in_the_past(folder, name, record),
    )
    gate = threading.Event()
    monkeypatch.setattr("prevent_caching.watcher.HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr("prevent_caching.watcher.LEASE_SECONDS", 1e9)
    monkeypatch.setattr(pulse, "BENEFIT_OF_DOUBT_SECONDS", 0.3)
    with serving(descriptor, lambda: gate.wait(20)):
        timer = threading.Timer(0.6, gate.set)
        timer.start()
        assert request_drop(directory, 20).how == "host"
        timer.join()


def _write_in_the_past(folder: int, name: str, record: Heartbeat) -> float:
    modified = write_record(folder, name, record) - 3600
    os.utime(name, (modified, modified), dir_fd=folder)
    return modified


def test_a_watcher_that_stops_before_it_answers_is_told(
    directory: Path, descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "DEAD_SECONDS", 0.2)
    monkeypatch.setattr(pulse, "BENEFIT_OF_DOUBT_SECONDS", 0.2)
    beat(descriptor)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(request_drop, directory, 600)
        wait_for_request(directory)
        (directory / HEARTBEAT).unlink()
        with pytest.raises(DropRefused, match="stopped before it answered: process 4242"):
            future.result()
    assert list(directory.iterdir()) == []


def test_a_watcher_without_permission_is_told_with_its_reason(
    directory: Path, descriptor: int, no_control: Path
) -> None:
    drop = drop_module.drop
    with (
        serving(descriptor, lambda: drop(3, no_control)),
        pytest.raises(DropRefused, match=r"the host watcher of .*: user \d+ may not write"),
    ):
        request_drop(directory, 20)
    assert list(directory.iterdir()) == []


def test_a_drop_that_takes_too_long_is_told_from_one_never_begun(
    directory: Path, descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prevent_caching.watcher.HEARTBEAT_SECONDS", 0.02)
    gate = threading.Event()
    with serving(descriptor, lambda: gate.wait(20)):
        with pytest.raises(DropRefused, match=r"no answer within 0\.3 s: .* still writing dirty"):
            request_drop(directory, 0.3)
        gate.set()
    beat(descriptor)
    with pytest.raises(DropRefused, match=r"no answer within 0\.1 s: .*4242\) is idle"):
        request_drop(directory, 0.1)
    assert not list(directory.glob("request-*"))


def test_a_request_that_was_taken_for_stale_is_posted_again(
    directory: Path, descriptor: int
) -> None:
    """A step of the host's clock may make a living requester's request look old."""
    beat(descriptor)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(request_drop, directory, 20)
        posted = wait_for_request(directory)
        posted.unlink()
        assert wait_for_request(directory) == posted
        with serving(descriptor, lambda: None):
            assert future.result().how == "host"


def test_another_kernel_is_told(
    directory: Path, descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prevent_caching.watcher.boot_id", lambda: "of another machine")
    monkeypatch.setattr("prevent_caching.client.boot_id", lambda: "of this one")
    with serving(descriptor, lambda: None):
        assert request_drop(directory, 20).same_kernel is False


def test_a_heartbeat_that_is_none_is_told(directory: Path) -> None:
    (directory / HEARTBEAT).write_text("{}")
    with pytest.raises(DropRefused, match="is not of protocol version 1"):
        request_drop(directory, 20)


def test_a_directory_that_the_requester_may_not_write_is_told(
    public_directory: Path, as_nobody: Callable[[Callable[[], object]], str]
) -> None:
    opened = os.open(public_directory, os.O_RDONLY)
    beat(opened)
    os.close(opened)
    outcome = as_nobody(lambda: request_drop(public_directory, 5))
    assert outcome == (
        f"DropRefused: user 65534 cannot write a request into {public_directory} "
        "(Permission denied): let it write there, for example by group"
    )


REQUESTER = """
import sys
from pathlib import Path
from prevent_caching.client import request_drop
request_drop(Path(sys.argv[1]), 60)
"""


def test_a_killed_requester_causes_no_drop(
    directory: Path, descriptor: int, caplog: pytest.LogCaptureFixture
) -> None:
    beat(descriptor)
    with subprocess.Popen([sys.executable, "-c", REQUESTER, str(directory)]) as requester:
        posted = wait_for_request(directory)
        requester.send_signal(signal.SIGKILL)
    # Instead of waiting for the lease to run out.
    past = posted.stat().st_mtime - 60
    os.utime(posted, (past, past))
    drops: list[int] = []
    watcher = Watcher(descriptor, lambda: drops.append(1))
    watcher.step()
    assert drops == []
    assert not posted.exists()
    assert "has not been renewed" in caplog.text
