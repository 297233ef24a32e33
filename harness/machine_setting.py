"""What must agree before two results are compared, or one is taken for another: the setting."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from harness.units import byte_count

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


def setting_of_machine(
    machine: str, facts: Mapping[str, Any], chosen: Mapping[str, Any]
) -> dict[str, str]:
    """Return what must agree, from `harness.machine.describe` and the settings of a run."""
    found = {"machine": machine}
    for name, path in _FACTS.items():
        value = at(facts, path)
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


def differences(a: Mapping[str, str], b: Mapping[str, str]) -> list[str]:
    """Return one line for each fact that both settings state and that differs.

    What only one of them states (asv knows no file system, say) is not taken for a difference.
    """
    return [
        f"{name}: {value} against {b[name]}"
        for name, value in a.items()
        if name in b and b[name] != value
    ]


def at(facts: Mapping[str, Any], path: Sequence[str]) -> Any:
    """Return a nested value, or None where any part of the path is missing."""
    value: Any = facts
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
