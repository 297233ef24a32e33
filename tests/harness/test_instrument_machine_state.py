"""What can spoil a figure: counts of throttling, the clock's settings, swap, debugging builds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness import machine_state

ROOT = Path(machine_state.__file__).parents[1]
CPUS = "devices/system/cpu"


def write(system: Path, **files: object) -> Path:
    """Write small files whose names have ``__`` for a slash."""
    for name, content in files.items():
        path = system / CPUS / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return system


def processor(system: Path, number: int, package: int, **counts: int) -> None:
    name = f"cpu{number}"
    write(system, **{f"{name}__topology__physical_package_id": package})
    write(system, **{f"{name}__thermal_throttle__{key}": value for key, value in counts.items()})


def test_heat_is_counted_once_a_package(tmp_path: Path) -> None:
    for number, package in enumerate([0, 0, 1, 1]):
        processor(
            tmp_path, number, package, package_throttle_count=3 + package, core_throttle_count=9
        )

    assert machine_state.throttling(tmp_path) == {"thermal": 7}


def test_without_counts_of_packages_the_cores_are_added_up(tmp_path: Path) -> None:
    for number in range(3):
        processor(tmp_path, number, 0, core_throttle_count=2)

    assert machine_state.throttling(tmp_path) == {"thermal": 6}


@pytest.mark.parametrize("folder", ["", "cpu", "cpu,cpuacct"])
def test_a_quota_is_counted_in_both_versions_of_cgroups(tmp_path: Path, folder: str) -> None:
    path = tmp_path / "fs" / "cgroup" / folder / "cpu.stat"
    path.parent.mkdir(parents=True)
    path.write_text("nr_periods 80\nnr_throttled 12\nthrottled_time 7\n")

    assert machine_state.throttling(tmp_path) == {"quota": 12}


def test_what_a_platform_does_not_count_is_left_out(tmp_path: Path) -> None:
    assert machine_state.throttling(tmp_path) == {}
    assert machine_state.clock(tmp_path) == {}
    assert machine_state.swapped_bytes(tmp_path / "meminfo") is None


@pytest.mark.parametrize(
    ("files", "turbo"),
    [
        ({"intel_pstate__no_turbo": 0}, True),
        ({"intel_pstate__no_turbo": 1}, False),
        ({"cpufreq__boost": 1}, True),
        ({"cpufreq__boost": 0}, False),
    ],
)
def test_turbo_is_told_by_either_driver(tmp_path: Path, files: dict[str, int], turbo: bool) -> None:
    assert machine_state.clock(write(tmp_path, **files)) == {"turbo": turbo}


def test_a_clock_that_is_held_down_is_seen(tmp_path: Path) -> None:
    limits = {
        "cpu0__cpufreq__scaling_max_freq": 2_000_000,
        "cpu0__cpufreq__cpuinfo_max_freq": 3_500_000,
    }

    found = machine_state.clock(write(tmp_path, **limits))

    assert found == {"highest_hz": 2_000_000_000, "rated_hz": 3_500_000_000}


def test_swap_is_what_is_used_of_it(tmp_path: Path) -> None:
    path = tmp_path / "meminfo"
    path.write_text("MemTotal: 99 kB\nSwapCached: 1 kB\nSwapTotal: 4096 kB\nSwapFree: 1024 kB\n")

    assert machine_state.swapped_bytes(path) == 3 << 20


def build_of(*options: str, before: str = "", **variables: str) -> dict[str, object]:
    """Return what a fresh interpreter says of itself."""
    lines = ["import json", "from harness.machine_state import build", before]
    code = "\n".join([*lines, "print(json.dumps(build()))"])
    done = subprocess.run(
        [sys.executable, *options, "-c", code],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_an_ordinary_process_is_slowed_by_nothing() -> None:
    assert build_of() == {}


def test_debugging_ways_are_named() -> None:
    tracing = (
        "import sys\n"
        "def spy(*_): return None\n"
        "spy.__module__ = 'coverage.tracer'\n"
        "sys.settrace(spy)"
    )

    assert build_of("-X", "dev") == {"dev_mode": True}
    assert build_of(PYTHONMALLOC="debug") == {"malloc": "PYTHONMALLOC=debug"}
    assert build_of(before=tracing) == {"tracing": "coverage"}


def test_a_torch_built_for_debugging_is_known_without_importing_it(tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise SystemError('imported')\n")
    (tmp_path / "torch" / "version.py").write_text("__version__ = '9'\ndebug = True\n")

    assert build_of(before=f"import sys; sys.path.insert(0, {str(tmp_path)!r})") == {"torch": True}
