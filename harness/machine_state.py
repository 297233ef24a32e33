"""What can spoil a figure on a good machine: throttling, capped clocks, swap, debugging builds."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

SYSTEM: Final = Path("/sys")
CPUS: Final = "devices/system/cpu"

_CPU_STAT: Final = (
    "fs/cgroup/cpu.stat",
    "fs/cgroup/cpu/cpu.stat",
    "fs/cgroup/cpu,cpuacct/cpu.stat",
)
"""Where a container's counts stand, by version 2 and version 1 of cgroups."""

_SANITIZERS: Final = ("libasan", "libtsan", "libubsan", "libmsan", "vgpreload")
"""Parts of the names of libraries that make every access to memory slower."""


def throttling(system: Path = SYSTEM) -> dict[str, int]:
    """Return how often the processor was slowed since the system began, where that is counted.

    Two readings around a run tell whether it was slowed in between. ``thermal`` counts heat events
    of all packages, or of all cores where packages have no count; ``quota`` counts periods in which
    a container had used up its share of the processors.
    """
    found = {"thermal": _thermal_events(system), "quota": _quota_periods(system)}
    return {name: count for name, count in found.items() if count is not None}


def clock(system: Path = SYSTEM) -> dict[str, Any]:
    """Return whether the processor may go beyond its base clock, and how far it is held below.

    ``turbo`` is a bool; ``highest_hz`` is what the settings allow and ``rated_hz`` what the
    processor can do. What the platform does not tell (a virtual machine, say) is left out.
    """
    frequency = system / CPUS / "cpu0" / "cpufreq"
    rates = {
        "highest_hz": _number(frequency / "scaling_max_freq"),
        "rated_hz": _number(frequency / "cpuinfo_max_freq"),
    }
    found: dict[str, Any] = {name: 1000 * khz for name, khz in rates.items() if khz is not None}
    no_turbo = _number(system / CPUS / "intel_pstate" / "no_turbo")
    boost = _number(system / CPUS / "cpufreq" / "boost")
    if no_turbo is not None or boost is not None:
        found["turbo"] = no_turbo == 0 if no_turbo is not None else boost == 1
    return found


def swapped_bytes(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Return how much of the memory's content lies in swap space; None where that is unknown."""
    try:
        text = meminfo.read_text()
    except OSError:
        return None
    sizes = dict(re.findall(r"^(Swap(?:Total|Free)):\s+(\d+) kB", text, re.MULTILINE))
    if len(sizes) < 2:
        return None
    return (int(sizes["SwapTotal"]) - int(sizes["SwapFree"])) * 1024


def build() -> dict[str, bool | str]:
    """Return in what ways this process is slower than the code that it runs, by name of the way.

    Empty for an ordinary process. The ways: ``python`` (built with Py_DEBUG), ``dev_mode`` (-X
    dev), ``malloc`` (PYTHONMALLOC or MALLOC_CHECK_ that check every block), ``sanitizer`` (built
    with one, or preloaded), ``tracing`` (coverage, a profiler or a debugger watches every line),
    ``torch`` (built for debugging).
    """
    ways = {
        "python": hasattr(sys, "gettotalrefcount"),
        "dev_mode": sys.flags.dev_mode,
        "malloc": _checking_malloc(os.environ),
        "sanitizer": _sanitizer(os.environ),
        "tracing": _tracer(),
        "torch": _is_debug_torch(),
    }
    return {name: way for name, way in ways.items() if way}


def _thermal_events(system: Path) -> int | None:
    by_kind: dict[str, dict[str, int]] = {"package": {}, "core": {}}
    for folder in (system / CPUS).glob("cpu[0-9]*/thermal_throttle"):
        package = _number(folder.parent / "topology" / "physical_package_id") or 0
        for kind, counts in by_kind.items():
            count = _number(folder / f"{kind}_throttle_count")
            if count is not None:
                # The processors of a package all have its count; those of a core are its own.
                key = str(package) if kind == "package" else folder.parent.name
                counts[key] = max(count, counts.get(key, 0))
    counted = by_kind["package"] or by_kind["core"]
    return sum(counted.values()) if counted else None


def _quota_periods(system: Path) -> int | None:
    for name in _CPU_STAT:
        try:
            found = re.search(r"^nr_throttled (\d+)$", (system / name).read_text(), re.MULTILINE)
        except OSError:
            continue
        if found:
            return int(found[1])
    return None


def _checking_malloc(environment: Mapping[str, str]) -> str | bool:
    if "debug" in environment.get("PYTHONMALLOC", ""):
        return f"PYTHONMALLOC={environment['PYTHONMALLOC']}"
    checked = environment.get("MALLOC_CHECK_", "0")
    return False if checked in ("", "0") else f"MALLOC_CHECK_={checked}"


def _sanitizer(environment: Mapping[str, str]) -> str | bool:
    built_with = re.search(r"-fsanitize=\S+", str(sysconfig.get_config_var("CFLAGS") or ""))
    if built_with:
        return built_with[0]
    preloaded = environment.get("LD_PRELOAD", "")
    return next((name for name in _SANITIZERS if name in preloaded), False)


def _tracer() -> str | bool:
    """Return who is called at every line or call: it multiplies the time of Python code."""
    return next(_tracers(), False)


def _tracers() -> Iterator[str]:
    for function in (sys.gettrace(), sys.getprofile()):
        if function is not None:
            kind = type(function)
            module = getattr(function, "__module__", None) or kind.__module__
            yield str(module).partition(".")[0]
    monitoring = getattr(sys, "monitoring", None)
    if monitoring is not None:
        for tool in range(6):
            name = monitoring.get_tool(tool)
            if name is not None:
                yield str(name)


def _is_debug_torch() -> bool:
    """Read torch's own statement without importing it, which takes a second and more."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    try:
        text = Path(spec.origin).with_name("version.py").read_text()
    except OSError:
        return False
    return re.search(r"^debug = True$", text, re.MULTILINE) is not None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
