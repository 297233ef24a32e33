"""Bandwidth limits: how they are written, and a real one set, verified and lifted."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prevent_caching.cgroup import find_hierarchy
from prevent_caching.direct_io import Plan, bandwidth, plan_for, scratch_file
from prevent_caching.errors import LimitRefused, PreventCachingError
from prevent_caching.io_limit import Check, check, docker_flags, limited, verify
from prevent_caching.rates import RateError, format_rate, parse_rate

LIMIT = 100_000_000


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("100MB/s", 10**8),
        ("200mb", 2 * 10**8),
        ("1GiB/s", 2**30),
        ("1.5 kB/s", 1500),
        ("64KiB", 65536),
        ("7", 7),
        ("12b/s", 12),
        (" 3G ", 3 * 10**9),
    ],
)
def test_bandwidths_as_people_write_them(text: str, rate: int) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text", ["", "fast", "0", "0.4b", "-1MB/s", "1TB/s", "1MB/h", "1e9", "1iB"]
)
def test_what_is_no_bandwidth(text: str) -> None:
    with pytest.raises(RateError, match="for example 100MB/s"):
        parse_rate(text)


@given(rate=st.integers(1, 10**7))
def test_a_formatted_bandwidth_is_read_back(rate: int) -> None:
    shown = format_rate(rate * 10**5).replace(",", "")
    assert parse_rate(shown) == rate * 10**5


@given(rate=st.integers(1, 10**11))
def test_a_measurement_is_long_enough_to_see_the_limit_and_small_on_disk(rate: int) -> None:
    plan = plan_for(rate)
    assert plan.block_bytes % 4096 == 0
    assert 1 <= plan.file_blocks <= plan.blocks
    assert plan.file_blocks * plan.block_bytes <= 64 << 20
    assert plan.blocks * plan.block_bytes >= 0.6 * rate
    # A quarter is not timed, and a line needs some points.
    assert plan.blocks >= 9


@pytest.mark.parametrize(
    ("before", "under", "after", "problem"),
    [
        (1000, 100, 900, None),
        (1000, 114, 900, None),
        (1000, 130, 900, "ran at 130.0 MB/s under the limit"),
        (110, 100, 900, "cannot be seen to hold"),
        (1000, 100, 101, "after the limit was lifted"),
    ],
)
def test_the_judgement_of_a_check(before: int, under: int, after: int, problem: str | None) -> None:
    found = Check("read", LIMIT, before * 1e6, under * 1e6, after * 1e6).problem
    assert found is None if problem is None else found is not None and problem in found


def test_a_bandwidth_is_measured_past_the_cache(disk: Path) -> None:
    plan = Plan(blocks=12, block_bytes=4096, file_blocks=5)
    with scratch_file(disk, plan) as file:
        assert file.stat().st_size == 5 * 4096
        before = file.read_bytes()
        assert bandwidth("read", file, plan) > 0
        assert file.read_bytes() == before
        assert bandwidth("write", file, plan) > 0
        assert file.read_bytes() != before
        with pytest.raises(OSError, match="ends before byte 24576"):
            bandwidth("read", file, Plan(12, 4096, 6))
    assert list(disk.iterdir()) == []


def test_what_cannot_be_measured_is_one_line() -> None:
    with pytest.raises(LimitRefused, match="/proc/self cannot be measured by direct I/O"):
        verify(Path("/proc/self"), LIMIT)


def test_docker_gets_plain_bytes(device_path: Path) -> None:
    read, write = docker_flags(device_path, LIMIT, 2**30)
    assert read.startswith("--device-read-bps=/dev/")
    assert read.endswith(":100000000")
    assert write.startswith("--device-write-bps=/dev/")
    assert write.endswith(":1073741824")
    assert docker_flags(device_path, None, 5) == [f"{write.rpartition(':')[0]}:5"]


def test_a_device_that_does_not_exist_is_refused() -> None:
    with pytest.raises(PreventCachingError, match="no block device 4095:1"):
        docker_flags("4095:1", LIMIT)


# From here on the kernel limits this process for some seconds, and no other.


def own_cgroup(pid: int | None = None) -> Path:
    return find_hierarchy().cgroup_of(os.getpid() if pid is None else pid)


def test_a_limit_of_100_mb_per_second_is_set_verified_and_lifted(limitable: Path) -> None:
    home = own_cgroup()
    (found,) = verify(limitable, read_bps=LIMIT)
    if found.before < 2 * LIMIT:
        pytest.skip(f"the device gives only {format_rate(found.before)}")
    assert found.problem is None, found
    assert found.under < found.before / 1.5
    assert own_cgroup() == home
    assert list(limitable.iterdir()) == []


def test_a_run_can_check_the_limit_that_it_is_under(limitable: Path) -> None:
    with limited(limitable, write_bps=LIMIT) as limit:
        measured = check(limit, limitable)
    assert list(measured) == ["write"]
    assert 0 < measured["write"] <= LIMIT * 1.15


def test_children_started_meanwhile_are_limited_and_come_home(limitable: Path) -> None:
    home = own_cgroup()
    with limited(limitable, LIMIT) as limit:
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        assert own_cgroup() == limit.cgroup
        assert own_cgroup(child.pid) == limit.cgroup
    assert own_cgroup() == home
    assert own_cgroup(child.pid) == home
    assert not limit.cgroup.exists()
    child.communicate(b"\n")


def test_another_process_is_limited_and_this_one_is_not(limitable: Path) -> None:
    home = own_cgroup()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        with limited(limitable, LIMIT, pid=child.pid) as limit:
            assert own_cgroup(child.pid) == limit.cgroup
            assert own_cgroup() == home
        assert own_cgroup(child.pid) == home
        child.communicate(b"\n")


def test_an_error_inside_lifts_the_limit(limitable: Path) -> None:
    home = own_cgroup()
    with pytest.raises(ZeroDivisionError), limited(limitable, LIMIT) as limit:
        raise ZeroDivisionError
    assert own_cgroup() == home
    assert not limit.cgroup.exists()


def test_a_device_that_the_kernel_does_not_know_leaves_nothing(limitable: Path) -> None:
    home = own_cgroup()
    before = set(home.iterdir())
    with pytest.raises(LimitRefused, match="device 4095:1"), limited("4095:1", LIMIT):
        pass
    assert own_cgroup() == home
    assert set(home.iterdir()) == before


KILLED = """
import os, signal, sys
from pathlib import Path
from prevent_caching.io_limit import limited
with limited(Path(sys.argv[1]), 10**8) as limit:
    print(limit.cgroup, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_cgroup_of_a_killed_run_is_removed_by_the_next(limitable: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(limitable)], capture_output=True, text=True, check=False
    )
    left = Path(done.stdout.strip())
    assert left.name.startswith("prevent-caching-")
    assert left.exists()
    with limited(limitable, LIMIT):
        pass
    assert not left.exists()


def test_without_permission_the_docker_flags_are_named(
    limitable: Path, public_directory: Path, as_nobody: Callable[[Callable[[], object]], str]
) -> None:
    def attempt() -> None:
        with limited(public_directory, LIMIT):
            pass

    outcome = as_nobody(attempt)
    assert outcome.startswith("LimitRefused: no limited cgroup can be made in ")
    assert "(Permission denied)" in outcome
    assert "--device-read-bps" in outcome
