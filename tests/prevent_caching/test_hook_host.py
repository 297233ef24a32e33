"""The host's program as a process: what it refuses, how it ends, what its death looks like."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from configparser import RawConfigParser
from pathlib import Path

import pytest

import prevent_caching
from prevent_caching import pulse
from prevent_caching.client import request_drop
from prevent_caching.errors import DropRefused
from prevent_caching.exchange import HEARTBEAT
from prevent_caching.host import main
from prevent_caching.trusted_directory import DirectoryRefused, open_trusted

# The program itself, without its sync: that would wait for the whole machine's dirty pages.
PROGRAM = """
import os, sys
os.sync = lambda: None
from prevent_caching.host import main
sys.exit(main())
"""

Start = Callable[..., "subprocess.Popen[str]"]


def wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def start(directory: Path) -> Iterator[Start]:
    """Yield a function that starts the host's program on `directory` and waits for its pulse."""
    started: list[subprocess.Popen[str]] = []

    def begin(control: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROGRAM, "--dir", str(directory)]
        options = ["--control", str(control), "--min-interval", "0.01", "--poll", "0.01"]
        host = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
        started.append(host)
        wait_until((directory / HEARTBEAT).exists)
        return host

    yield begin
    for host in started:
        host.kill()
        host.communicate()


@pytest.fixture
def control(tmp_path: Path) -> Path:
    """Return a FIFO in the kernel's place: a drop lasts until somebody reads it."""
    fifo = tmp_path / "drop_caches"
    os.mkfifo(fifo)
    return fifo


def test_a_drop_by_another_process(start: Start, directory: Path, control: Path) -> None:
    host = start(control)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(request_drop, directory, 20)
        assert control.read_text() == "3\n"
        result = future.result()
    host.send_signal(signal.SIGTERM)
    _, log = host.communicate(timeout=20)
    assert host.returncode == 0
    assert list(directory.iterdir()) == []
    lines = [line for line in log.splitlines() if result.requested_id[:8] in line]
    assert len(lines) == 1
    assert f"for process {os.getpid()}" in lines[0]


def test_a_watcher_killed_between_request_and_answer(
    start: Start, directory: Path, control: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "DEAD_SECONDS", 1.5)
    host = start(control)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(request_drop, directory, 600)
        wait_until(lambda: bool(list(directory.glob("request-*"))))
        host.kill()
        with pytest.raises(DropRefused) as caught:
            future.result()
    assert "is dead: the heartbeat of process" in str(caught.value)
    assert str(host.pid) in str(caught.value)
    assert not list(directory.glob("request-*"))


def test_a_killed_watcher_can_be_started_again_and_serves(
    start: Start, directory: Path, control: Path
) -> None:
    first = start(control)
    first.kill()
    first.wait()
    start(control)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(request_drop, directory, 20)
        assert control.read_text() == "3\n"
        assert future.result().how == "host"


def test_a_second_watcher_is_refused(
    start: Start, directory: Path, control: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    start(control)
    assert main(["--dir", str(directory)]) == 2
    assert "another watcher already serves" in capfd.readouterr().err


@pytest.mark.parametrize("mode", [0o700, 0o770, 0o755, 0o1777])
def test_directories_that_are_served(directory: Path, mode: int) -> None:
    directory.chmod(mode)
    os.close(open_trusted(directory))


def test_a_directory_that_all_may_write_needs_the_sticky_bit(directory: Path) -> None:
    directory.chmod(0o777)
    with pytest.raises(DirectoryRefused, match="without the sticky bit"):
        open_trusted(directory)


@pytest.mark.parametrize("mode", [0o777, 0o1777])
def test_a_directory_of_another_user_that_all_may_write_is_refused(
    directory: Path, mode: int
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory away")
    os.chown(directory, 65534, 65534)
    directory.chmod(mode)
    with pytest.raises(DirectoryRefused, match="owned by user 65534, not by user 0"):
        open_trusted(directory)
    directory.chmod(0o755)
    os.close(open_trusted(directory))


def test_what_is_no_directory_is_refused(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(directory)
    (tmp_path / "file").touch()
    for name in ("link", "file"):
        with pytest.raises(DirectoryRefused, match="not a directory, or is a symbolic link"):
            open_trusted(tmp_path / name)
    with pytest.raises(DirectoryRefused, match="mkdir -m 0770"):
        open_trusted(tmp_path / "absent")


def test_a_refusal_is_one_line_and_a_status(directory: Path) -> None:
    directory.chmod(0o777)
    done = subprocess.run(
        [sys.executable, "-m", "prevent_caching.host", "--dir", str(directory)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("prevent_caching.host: ")
    assert done.stderr.count("\n") == 1


def test_a_watcher_without_permission_says_so_at_its_start(
    start: Start, directory: Path, tmp_path: Path
) -> None:
    host = start(tmp_path / "absent")
    with pytest.raises(DropRefused, match=r"may not write .*absent"):
        request_drop(directory, 20)
    host.terminate()
    _, log = host.communicate(timeout=20)
    assert "requests are refused" in log


@pytest.mark.parametrize(
    "option", [["--min-interval", "0"], ["--poll", "-1"], ["--level", "2"], ["--poll", "soon"]]
)
def test_options_outside_their_range_are_refused(directory: Path, option: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--dir", str(directory), *option])
    assert caught.value.code == 2


def test_the_hosts_side_needs_the_standard_library_only(tmp_path: Path) -> None:
    """As on a bare host: the folder alone, no site-packages."""
    source = Path(prevent_caching.__file__).parent
    (tmp_path / "prevent_caching").symlink_to(source)
    modules = ["prevent_caching." + file.stem for file in source.glob("*.py")]
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", f"import {', '.join(sorted(modules))}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""


def test_the_unit_starts_the_program_and_leaves_its_control_file_writable() -> None:
    unit = RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[method-assign,assignment]
    file = Path(prevent_caching.__file__).parent / "prevent-caching.service"
    unit.read_string(file.read_text().replace("\\\n", ""))
    service = unit["Service"]
    assert "-m prevent_caching.host --dir /var/lib/prevent-caching" in service["ExecStart"]
    assert service["StateDirectory"] == "prevent-caching"
    assert service["ProtectKernelTunables"] == "no"
    assert service["CapabilityBoundingSet"] == ""
