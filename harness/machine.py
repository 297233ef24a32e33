"""The machine under the figures: processor, memory, disk, device, virtualisation, versions.

Nothing here names the host, its user or its network: a description may be published.
"""

from __future__ import annotations

import functools
import os
import platform
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, Final, overload

from harness import machine_state
from harness.errors import InputError

NAME_VARIABLE: Final = "BENCH_CORE_MACHINE"
LONGEST_MODEL: Final = 32
COMMAND_SECONDS: Final = 10.0

LIBRARIES: Final = (
    "bench-core",
    "torch",
    "numpy",
    "safetensors",
    "transformers",
    "h5py",
    "lmdb",
    "tensorstore",
    "fastsafetensors",
    "runai-model-streamer",
    "redis",
    "hiredis",
    "asv",
    "asv_runner",
    "pytest",
    "pytest-benchmark",
)
"""Distributions whose versions can change a figure."""

_QUEUE_SETTINGS: Final = (
    "rotational",
    "scheduler",
    "nr_requests",
    "read_ahead_kb",
    "max_sectors_kb",
    "logical_block_size",
    "physical_block_size",
    "write_cache",
    "discard_max_bytes",
)


def describe(directory: Path) -> dict[str, Any]:
    """Describe the machine and the disk behind ``directory``, as JSON types.

    What cannot be read on this platform is left out or None. Takes some 30 ms on Linux (a second
    elsewhere, once a process).
    """
    return {
        "name": machine_name(),
        "cpu": _cpu(),
        "memory_bytes": _memory_bytes(),
        "cgroup": _cgroup_limits(),
        "file_system": _file_system(directory),
        "block_device": _block_device(directory),
        "gpus": _gpus(),
        "virtualisation": _virtualisation(),
        "system": platform.system(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "libraries": _library_versions(),
        "git": _git(),
        "load_average": _load_average(),
        "transparent_hugepages": _chosen("/sys/kernel/mm/transparent_hugepage/enabled"),
        "cpu_governor": _text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "cpu_clock": machine_state.clock(),
        "throttling": machine_state.throttling(),
        "swapped_bytes": machine_state.swapped_bytes(),
        "build": machine_state.build(),
    }


def machine_name() -> str:
    """Return a short, stable name for a folder of results, such as ``amd-epyc-2c-kvm``.

    Made of the processor's model, its logical cores, the GPU if there is one, and the
    virtualisation; the environment variable ``BENCH_CORE_MACHINE`` overrides it.

    Raises:
        InputError: the variable holds something that is no simple folder name.
    """
    chosen = os.environ.get(NAME_VARIABLE)
    if chosen is not None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", chosen):
            raise InputError(
                f"{NAME_VARIABLE}={chosen!r} is no folder name; use letters, digits, '.', '_', '-'"
            )
        return chosen
    gpus = _gpus()
    parts = [slug(_cpu_model()), f"{os.cpu_count() or 1}c"]
    if gpus:
        parts.append(("" if len(gpus) == 1 else f"{len(gpus)}x") + slug(gpus[0]["name"]))
    parts.append(_virtualisation()["kind"])
    return "-".join(part for part in parts if part and part != "none")


def slug(model: str) -> str:
    """Return a model's name in lower case with dashes, without trademarks and clock rates."""
    plain = re.sub(r"\((r|tm)\)|@.*|\bw/.*|\bwith\b.*|\b\d+-core\b", " ", model.lower())
    plain = re.sub(r"\b(cpu|processor|nvidia|corporation|inc)\b", " ", plain)
    return "-".join(re.findall(r"[a-z0-9]+", plain))[:LONGEST_MODEL].strip("-") or "unknown"


def _cpu() -> dict[str, Any]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "model": _cpu_model(),
        "architecture": platform.machine(),
        "logical_cores": os.cpu_count(),
        "usable_cores": usable,
    }


@functools.cache
def _cpu_model() -> str:
    for line in _text("/proc/cpuinfo", "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name" and value.strip():
            return value.strip()
    # ARM's cpuinfo has numbers only, other systems have no such file; this takes a second.
    import cpuinfo  # type: ignore[import-untyped]

    found = cpuinfo.get_cpu_info()
    return str(found.get("brand_raw") or found.get("arch_string_raw") or "unknown")


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _cgroup_limits() -> dict[str, str]:
    """Return the limits that a container put on this process, version 2 or 1, as written."""
    files = {
        "memory": ("memory.max", "memory/memory.limit_in_bytes"),
        "cpu": ("cpu.max", "cpu/cpu.cfs_quota_us"),
    }
    found = {}
    for name, candidates in files.items():
        for candidate in candidates:
            content = _text(f"/sys/fs/cgroup/{candidate}")
            if content is not None:
                found[name] = content
                break
    return found


def _file_system(directory: Path) -> dict[str, Any] | None:
    from prevent_caching.errors import PreventCachingError
    from prevent_caching.file_system import kind
    from prevent_caching.mounts import mount_of

    try:
        found, mount = kind(directory), mount_of(directory)
    except PreventCachingError:
        return None
    # Options of a network's or a process's file system name hosts, users and folders.
    plain = found.has_page_cache_drop and found.name != "overlay"
    options = mount.super_options if plain else {}
    shown = [f"{key}={value}" if value else key for key, value in options.items()]
    return {
        "kind": found.name,
        "options": sorted(shown),
        "can_drop_cache": found.has_page_cache_drop,
    }


def _block_device(directory: Path) -> dict[str, Any] | None:
    """Return the whole disk's name, model, size and queue settings."""
    from prevent_caching.block_device import block_device
    from prevent_caching.errors import PreventCachingError

    try:
        folder = Path("/sys/dev/block", block_device(directory)).resolve()
    except PreventCachingError:
        return None
    settings = {name: _text(folder / "queue" / name) for name in _QUEUE_SETTINGS}
    sectors = _text(folder / "size")
    return {
        "name": folder.name,
        "model": _text(folder / "device" / "model"),
        "size_bytes": None if sectors is None else int(sectors) * 512,
        "queue": {name: value for name, value in settings.items() if value is not None},
    }


@functools.cache
def _gpus() -> tuple[dict[str, str], ...]:
    """Return name, memory and driver of each NVIDIA GPU, as nvidia-smi tells them."""
    fields = ("name", "memory.total", "driver_version")
    output = _run("nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader")
    rows = [[cell.strip() for cell in line.split(",")] for line in (output or "").splitlines()]
    keys = ("name", "memory", "driver")
    return tuple(dict(zip(keys, row, strict=True)) for row in rows if len(row) == len(keys))


@functools.cache
def _virtualisation() -> dict[str, Any]:
    """Return what runs this system: ``kind`` is a hypervisor's name, ``vm`` or ``none``."""
    hypervisor_flag = bool(
        re.search(r"^flags\s*:.*\bhypervisor\b", _text("/proc/cpuinfo", ""), re.MULTILINE)
    )
    # It exits with 1 when it finds none, and says so.
    detected = _run("systemd-detect-virt", "--vm", any_exit=True)
    kind = detected or ("vm" if hypervisor_flag else "none")
    container = _run("systemd-detect-virt", "--container", any_exit=True)
    if container is None and Path("/.dockerenv").exists():
        container = "docker"
    return {
        "kind": kind,
        "container": container or "none",
        "hypervisor_flag": hypervisor_flag,
        "vendor": _text("/sys/class/dmi/id/sys_vendor"),
        "product": _text("/sys/class/dmi/id/product_name"),
    }


def _library_versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    torch = sys.modules.get("torch")
    if torch is not None and torch.version.cuda is not None:
        found["cuda"] = str(torch.version.cuda)
    return found


def _git() -> dict[str, Any] | None:
    """Return commit and dirty flag of the checkout this file belongs to; None if it is in none."""
    here = Path(__file__).resolve()
    in_checkout = ("git", "-C", str(here.parent))
    if _run(*in_checkout, "ls-files", "--error-unmatch", here.name) is None:
        return None
    commit = _run(*in_checkout, "rev-parse", "HEAD")
    changes = _run(*in_checkout, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def _load_average() -> list[float] | None:
    return list(os.getloadavg()) if hasattr(os, "getloadavg") else None


def _chosen(path: str) -> str | None:
    """Return the choice in brackets of a kernel setting such as ``always [madvise] never``."""
    found = re.search(r"\[(\S+)\]", _text(path, ""))
    return found[1] if found else None


@overload
def _text(path: str | Path) -> str | None: ...
@overload
def _text(path: str | Path, default: str) -> str: ...
def _text(path: str | Path, default: str | None = None) -> str | None:
    """Return a small file's text without the white space around it, or ``default``."""
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return default


def _run(program: str, *arguments: str, any_exit: bool = False) -> str | None:
    """Return what a program printed; None if it is absent, fails or hangs."""
    if shutil.which(program) is None:
        return None
    try:
        done = subprocess.run(
            [program, *arguments],
            capture_output=True,
            text=True,
            check=not any_exit,
            timeout=COMMAND_SECONDS,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
