"""Which runs may be mixed: those that agree in machine, device, data type and library versions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from harness.report.table import RunFacts
from harness.report.units import byte_count

_FACTS: Final = {
    "cpu": ("cpu", "model"),
    "cores": ("cpu", "usable_cores"),
    "memory": ("memory_bytes",),
    "memory limit": ("cgroup", "memory"),
    "cpu limit": ("cgroup", "cpu"),
    "file system": ("file_system", "kind"),
    "disk": ("block_device", "name"),
    "disk model": ("block_device", "model"),
    "disk scheduler": ("block_device", "queue", "scheduler"),
    "read-ahead, kB": ("block_device", "queue", "read_ahead_kb"),
    "virtualisation": ("virtualisation", "kind"),
    "kernel": ("kernel",),
    "huge pages": ("transparent_hugepages",),
    "governor": ("cpu_governor",),
    "python": ("python",),
}
"""Name of a fact that must agree, and where `harness.machine.describe` has it."""

_UNLIMITED: Final = 1 << 60
"""From here on a container's limit in bytes is none: what the kernel writes where none is set."""


def _limit(written: object) -> str:
    """Return a container's limit, as the kernel writes it, as people read it."""
    text = str(written)
    return "none" if text.startswith(("max", "-1")) else text


def _memory_limit(written: object) -> str:
    text = _limit(written)
    if not text.isdecimal():
        return text
    return "none" if int(text) >= _UNLIMITED else byte_count(int(text))


def _chosen(written: object) -> str:
    """Return the choice in brackets of a kernel setting such as ``none [mq-deadline]``."""
    found = re.search(r"\[(\S+)\]", str(written))
    return found[1] if found else str(written)


_READABLE: Final[Mapping[str, Callable[[Any], str]]] = {
    "memory": byte_count,
    "memory limit": _memory_limit,
    "cpu limit": _limit,
    "disk scheduler": _chosen,
}

_NOT_MEASURED: Final = frozenset({"bench-core", "asv", "asv_runner", "pytest", "pytest-benchmark"})
"""Libraries whose version is the code's own, or cannot change a sample."""

_CHOSEN: Final = ("device", "dtype")
"""Settings of a run that must agree."""

_ASV_NAMES: Final = {"num_cpu": "cores", "gpu": "device"}


def setting_of_machine(
    machine: str, facts: Mapping[str, Any], chosen: Mapping[str, Any]
) -> dict[str, str]:
    """Return what must agree, from `harness.machine.describe` and the settings of a run."""
    found = {"machine": machine}
    for name, path in _FACTS.items():
        value = _at(facts, path)
        if value is not None:
            found[name] = _READABLE.get(name, str)(value)
    gpus = facts.get("gpus") or ()
    if gpus:
        found["device"] = ", ".join(str(gpu.get("name")) for gpu in gpus)
        found["driver"] = ", ".join(dict.fromkeys(str(gpu.get("driver")) for gpu in gpus))
    libraries = facts.get("libraries") or {}
    found |= {
        str(name): str(version) for name, version in libraries.items() if name not in _NOT_MEASURED
    }
    return found | {name: str(chosen[name]) for name in _CHOSEN if name in chosen}


def setting_of_asv(
    machine: str, params: Mapping[str, Any], requirements: Mapping[str, Any]
) -> dict[str, str]:
    """Return what must agree, from an asv result's ``params`` and ``requirements``.

    ``params`` has the machine's file with all keys that its owner added, such as gpu and driver.
    """
    stated = {
        _ASV_NAMES.get(str(name), str(name)): str(value)
        for name, value in {**params, **requirements}.items()
        # An environment that existed before is named by its interpreter's path, not its version.
        if value and not (name == "python" and "/" in str(value))
    }
    return {**stated, "machine": machine}


def setting_of_pytest(machine: str, info: Mapping[str, Any]) -> dict[str, str]:
    """Return what must agree, from pytest-benchmark's ``machine_info``."""
    paths = {
        "cpu": ("cpu", "brand_raw"),
        "cores": ("cpu", "count"),
        "kernel": ("release",),
        "python": ("python_version",),
    }
    values = {name: _at(info, path) for name, path in paths.items()}
    stated = {name: str(value) for name, value in values.items() if value is not None}
    return {"machine": machine, **stated}


def _at(facts: Mapping[str, Any], path: Sequence[str]) -> Any:
    """Return a nested value, or None where any part of the path is missing."""
    value: Any = facts
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def differences(a: Mapping[str, str], b: Mapping[str, str]) -> list[str]:
    """Return one line for each fact that both settings state and that differs.

    What only one of them states (asv knows no file system, say) is not taken for a difference.
    """
    return [
        f"{name}: {value} against {b[name]}"
        for name, value in a.items()
        if name in b and b[name] != value
    ]


def settings_of(
    runs: Sequence[RunFacts], *, mixed: bool
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Give every run the name of its setting.

    Args:
        runs: the runs that were loaded.
        mixed: whether to give all runs one setting, whatever they differ in.

    Returns:
        The setting of each run by its name, and what differs within each setting.
    """
    settings: dict[str, dict[str, str]] = {}
    found: dict[str, str] = {}
    differing: dict[str, list[str]] = {}
    for run in runs:
        label = _fitting(run, settings) if not mixed else next(iter(settings), None)
        if label is None:
            label = _new_label(run.machine or "unknown machine", settings)
        known = settings.setdefault(label, {})
        lines = differing.setdefault(label, [])
        lines.extend(line for line in differences(known, run.setting) if line not in lines)
        for name, value in run.setting.items():
            known.setdefault(name, value)
        found[run.run] = label
    return found, {label: lines for label, lines in differing.items() if lines}


def _fitting(run: RunFacts, settings: Mapping[str, Mapping[str, str]]) -> str | None:
    return next(
        (label for label, known in settings.items() if not differences(known, run.setting)), None
    )


def _new_label(name: str, taken: Iterable[str]) -> str:
    used = sum(1 for label in taken if label == name or label.startswith(f"{name} ("))
    return f"{name} ({used + 1})" if used else name
