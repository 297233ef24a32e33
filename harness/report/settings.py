"""Which runs may be mixed: those that agree in machine, device, data type and library versions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from harness.machine_setting import at, differences, setting_of_machine
from harness.report.table import RunFacts

__all__ = [
    "differences",
    "setting_of_asv",
    "setting_of_machine",
    "setting_of_pytest",
    "settings_of",
]

_ASV_NAMES: Final = {"num_cpu": "cores", "gpu": "device"}


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
    values = {name: at(info, path) for name, path in paths.items()}
    stated = {name: str(value) for name, value in values.items() if value is not None}
    return {"machine": machine, **stated}


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
