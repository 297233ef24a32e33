"""`bench-core drop-caches` and `bench-core io-limit`, down to one real drop by a real watcher."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.commands import drop_caches, io_limit
from harness.errors import HarnessError
from prevent_caching.cgroup import find_hierarchy
from prevent_caching.client import DIRECTORY_VARIABLE
from prevent_caching.drop import may_drop
from prevent_caching.exchange import HEARTBEAT
from prevent_caching.residency import residency, resident_fraction


def drop(*arguments: str | Path) -> Result:
    return CliRunner().invoke(drop_caches.command, [str(argument) for argument in arguments])


def limit(*arguments: str | Path) -> Result:
    return CliRunner().invoke(io_limit.command, [str(argument) for argument in arguments])


def refusal(result: Result) -> str:
    """Return the one line that the command line's main prints for an error of the harness."""
    assert isinstance(result.exception, HarnessError), result.exception
    return str(result.exception)


@pytest.fixture
def file(disk: Path) -> Path:
    made = disk / "file"
    made.write_bytes(os.urandom(4 << 20))
    return made


def test_files_are_evicted_one_by_one(file: Path, disk: Path) -> None:
    other = disk / "other"
    other.write_bytes(os.urandom(1 << 20))
    result = drop("--evict", file)
    assert result.exit_code == 0
    pages = residency(file).pages
    assert result.output.splitlines() == [
        f"before: 100.0% of {file} resident ({pages} of {pages} pages)",
        f"after:    0.0% of {file} resident (0 of {pages} pages)",
    ]
    assert resident_fraction(other) == 1.0


def test_a_file_that_stays_is_an_error_that_names_who_keeps_it(file: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", MAPPER, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as mapper:
        assert mapper.stdout is not None
        mapper.stdout.readline()
        result = drop("--evict", file)
        mapper.communicate(b"\n")
    assert f"is still 100.0% resident: {file} is mapped by process {mapper.pid}" in refusal(result)


MAPPER = """
import mmap, sys
with open(sys.argv[1], "rb") as stream:
    mapped = mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ)
print(sum(mapped[::mmap.PAGESIZE]), flush=True)
input()
"""


def test_a_file_in_memory_proves_nothing() -> None:
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK):
        pytest.skip("/dev/shm is not writable")
    file = shared / f"prevent-caching-{os.getpid()}"
    file.write_bytes(b"x")
    try:
        assert "keeps its files in memory" in refusal(drop("--prove", file))
    finally:
        file.unlink()


def test_without_a_watcher_the_command_says_what_to_start(directory: Path) -> None:
    assert "no host watcher" in refusal(drop("--dir", directory))


@pytest.mark.parametrize(
    "arguments", [["--level", "2"], ["--prove", "absent"], ["--drop"], ["--timeout", "soon"]]
)
def test_wrong_options_of_drop_caches(arguments: list[str]) -> None:
    assert drop(*arguments).exit_code == 2


def test_evicting_is_not_dropping(file: Path, directory: Path) -> None:
    result = drop("--evict", file, "--dir", directory)
    assert result.exit_code == 2
    assert "use it without --dir and --prove" in result.output


@pytest.fixture
def watcher(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Yield the host's program as a process of its own, with the kernel's own control file."""
    command = [sys.executable, "-m", "prevent_caching.host", "--dir", str(directory)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as host:
        deadline = time.monotonic() + 20
        while not (directory / HEARTBEAT).exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield host
        host.send_signal(signal.SIGTERM)


@pytest.mark.slow
@pytest.mark.skipif(not may_drop(), reason="only root with a writable /proc/sys may drop caches")
def test_a_real_drop_by_a_watcher_in_its_own_process(
    watcher: subprocess.Popen[bytes],
    directory: Path,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Global: the one test that empties the machine's page cache, once."""
    monkeypatch.setenv(DIRECTORY_VARIABLE, "/not/this/one")
    result = drop("--dir", directory, "--prove", file, "--timeout", "120")
    assert result.exit_code == 0, result.exception
    before, dropped, after = result.output.splitlines()
    assert before.startswith("before: 100.0%")
    assert re.search(r"the host's watcher dropped .* \(request [0-9a-f]{32}\)$", dropped)
    assert float(re.findall(r"after: +([\d.]+)%", after)[0]) <= 1.0
    assert list(directory.iterdir()) == [directory / HEARTBEAT]
    assert watcher.poll() is None


def test_docker_flags_are_printed_and_nothing_is_done(device_path: Path) -> None:
    result = limit("--read", "100MB/s", "--write", "1MiB/s", "--path", device_path, "--docker")
    assert re.fullmatch(
        r"--device-read-bps=/dev/\S+:100000000 --device-write-bps=/dev/\S+:1048576\n", result.output
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--read", "100 bananas", "true"], "'100 bananas' is not a bandwidth"),
        (["true"], "give --read, --write or both"),
        (["--read", "1MB/s"], "give a COMMAND"),
        (["--raed", "1MB/s", "true"], "No such option"),
        (["--read", "1MB/s", "--path", "/absent", "true"], "does not exist"),
    ],
)
def test_wrong_options_of_io_limit(arguments: list[str], complaint: str) -> None:
    result = limit(*arguments)
    assert result.exit_code == 2
    assert complaint in result.output


def test_a_path_without_a_device_is_refused() -> None:
    assert "no block device" in refusal(limit("--read", "1MB/s", "--path", "/proc", "true"))


def test_a_command_runs_under_the_limit_with_its_own_status(limitable: Path) -> None:
    script = "import sys; print(open('/proc/self/cgroup').read()); sys.exit(7)"
    output = limitable / "output"
    code = f'exec {sys.executable} -c "{script}" --verify > {output}'
    result = limit("--read", "100MB/s", "--path", limitable, "--", "sh", "-c", code)
    assert result.exit_code == 7
    assert "prevent-caching-" in output.read_text()
    assert "reads at 100.0 MB/s" in result.output
    assert "prevent-caching-" not in Path("/proc/self/cgroup").read_text()


def test_a_command_that_a_signal_ends_has_the_shells_status(limitable: Path) -> None:
    result = limit("--read", "1GB/s", "--path", limitable, "--", "sh", "-c", "kill -KILL $$")
    assert result.exit_code == 128 + signal.SIGKILL


def test_a_terminated_command_lifts_the_limit_and_ends_what_it_started(limitable: Path) -> None:
    code = "from harness.commands.io_limit import command; command()"
    options = ["--read", "1GB/s", "--path", str(limitable)]
    waiting = ["sh", "-c", "echo $$; exec sleep 600"]
    with subprocess.Popen(
        [sys.executable, "-c", code, *options, "--", *waiting], stdout=subprocess.PIPE, text=True
    ) as runner:
        assert runner.stdout is not None
        started = int(runner.stdout.readline())
        left = find_hierarchy().cgroup_of(started)
        runner.terminate()
        runner.stdout.close()
    assert runner.returncode == 128 + signal.SIGTERM
    assert left.name.startswith("prevent-caching-")
    assert not left.exists()
    assert not Path(f"/proc/{started}").exists()


def test_a_missing_command_is_named(limitable: Path) -> None:
    result = limit("--read", "1GB/s", "--path", limitable, "--", "no-such-program")
    assert refusal(result) == "cannot run 'no-such-program': No such file or directory"


def test_version_1_tells_what_it_does_not_limit(limitable: Path) -> None:
    result = limit("--write", "1GB/s", "--path", limitable, "--", "true")
    assert ("cgroup v1" in result.output) == ("buffered writes are not limited" in result.output)


def test_a_limit_is_verified_on_request(limitable: Path) -> None:
    result = limit("--read", "50MB/s", "--path", limitable, "--verify")
    assert result.exit_code == 0, result.exception
    assert re.search(r"limit 50\.0 MB/s  before .* under .* after .* holds$", result.output.strip())
