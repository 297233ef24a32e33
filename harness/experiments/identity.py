"""What tells one run's results from another's: the code that was measured, and the machine."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from harness.machine_setting import setting_of_machine

LIBRARIES: Final = ("bench_core", "harness", "prevent_caching")
NOT_MEASURED: Final = frozenset({"report", "commands"})
"""Rooms of the harness that no sample depends on."""
DIGITS: Final = 8


def code_digest(package: str | Path) -> str:
    """Return a digest of all Python files that a sample depends on.

    The library, the instrument and the benchmarks, as they lie on the disk: an edit makes another
    code, a commit that touches none of them does not.

    Args:
        package: of the benchmarks: a name, or a folder.
    """
    digest = hashlib.sha256()
    for label, folder in _folders(package):
        for path in sorted(folder.rglob("*.py")):
            inside = path.relative_to(folder)
            if label == "harness" and inside.parts[0] in NOT_MEASURED:
                continue
            content = path.read_bytes()
            digest.update(f"{label}/{inside.as_posix()}\0{len(content)}\0".encode())
            digest.update(content)
    return digest.hexdigest()


def run_key(
    code: str, machine_name: str, machine: Mapping[str, Any], io_limit: object = None
) -> str:
    """Return a short key for results of one code on one machine with its libraries.

    Args:
        code: as `code_digest` gives it.
        machine_name: as `harness.machine.machine_name` gives it.
        machine: as `harness.machine.describe` gives it.
        io_limit: on the disk, under which the samples are taken: it makes another machine of this.
    """
    setting = setting_of_machine(machine_name, machine, {})
    if io_limit is not None:
        setting["io_limit"] = str(io_limit)
    text = "\n".join([code, *(f"{name}={value}" for name, value in sorted(setting.items()))])
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def _folders(package: str | Path) -> Iterator[tuple[str, Path]]:
    """Yield label and folder of the packages whose code counts, each once."""
    for name in LIBRARIES:
        folder = _folder_of(name)
        if folder is not None:
            yield name, folder
    folder = package if isinstance(package, Path) else _folder_of(package)
    if folder is not None:
        yield "benchmarks", folder.resolve()


def _folder_of(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    places = spec.submodule_search_locations if spec is not None else None
    return Path(next(iter(places))) if places else None
