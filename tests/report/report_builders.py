"""Small builders of result files in the real form of each tool, for the report's tests."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.records import LimitsLine, Record, RunHeader, RunWriter

MACHINE: dict[str, Any] = {
    "name": "amd-epyc-2c-vm",
    "cpu": {"model": "AMD EPYC", "architecture": "x86_64", "logical_cores": 2, "usable_cores": 2},
    "memory_bytes": 24 << 30,
    "file_system": {"kind": "ext4", "options": ["rw"], "can_drop_cache": True},
    "block_device": {"name": "vda", "model": None, "queue": {"read_ahead_kb": "8192"}},
    "gpus": [],
    "virtualisation": {"kind": "vm"},
    "kernel": "6.18.44",
    "python": "3.11.7",
    "libraries": {"bench-core": "0.1.0", "torch": "2.13.0", "safetensors": "0.8.0"},
    "git": {"commit": "62589e8ee77dae763d488c2a3608a83818e39589", "dirty": False},
    "load_average": [1.5, 1.2, 0.9],
}
LIMITS: dict[str, Any] = {
    "sequential_read": 2.2e9,
    "sequential_write": 2.1e9,
    "random_read_4k": 9000.0,
    "fsync_seconds": 0.0012,
    "memcpy": 9.5e9,
    "matmul_flops": 1.2e11,
}
WHOLE_MODEL = "layer_loading.WholeModel.time_load"
SIZE = 256_000_000


def machine(**changed: Any) -> dict[str, Any]:
    """Return a description of a machine, with some facts changed."""
    return {**MACHINE, **changed}


def header(run_id: str = "20261121T081500Z-abcd", **changed: Any) -> RunHeader:
    """Return a run's header; ``machine`` and the other fields can be given."""
    fields: dict[str, Any] = {
        "started_at": "2026-11-21T08:15:00.000+00:00",
        "machine_name": "amd-epyc-2c-vm",
        "machine": MACHINE,
        "section": "quick",
    }
    return RunHeader(run_id=run_id, **{**fields, **changed})


def write_run(
    path: Path,
    records: Iterable[Record],
    head: RunHeader | None = None,
    limits: Sequence[tuple[str, Mapping[str, Any]]] = (("begin", LIMITS), ("end", LIMITS)),
) -> Path:
    """Write a run's file as the harness does."""
    with RunWriter.create(path, head or header()) as writer:
        for when, content in limits:
            writer.limits(LimitsLine(when, content, taken_at="2026-11-21T08:15:00.000+00:00"))
        for record in records:
            writer.sample(record)
    return path


def record(value: float | None = 0.25, **changed: Any) -> Record:
    """Return a sample of a cold load of 256 MB; params are merged, other fields replaced."""
    params = {"format": "direct", "cache": "cold_file", "model": "stack_64x4MiB"}
    fields: dict[str, Any] = {
        "benchmark": WHOLE_MODEL,
        "value": value,
        "bytes": SIZE,
        "ideal_seconds": SIZE / LIMITS["sequential_read"],
        "cache": {"state": "cold_file", "proved": True, "resident_before": 0.0},
        "process": 4242,
        "started_at": "2026-11-21T08:15:01.000+00:00",
    }
    params |= changed.pop("params", {})
    if "cache" in params and "cache" not in changed:
        fields["cache"] = {"state": params["cache"], "proved": True}
    return Record(params=params, **{**fields, **changed})


def interleaved(
    medians: Mapping[str, float],
    rounds: int = 6,
    seed: int = 0,
    noise: float = 0.02,
    **changed: Any,
) -> list[Record]:
    """Return samples of several formats, one a round, around the given medians in seconds."""
    random = np.random.default_rng(seed)
    params = changed.pop("params", {})
    return [
        record(
            float(median * np.exp(random.normal(0, noise))),
            params={"format": name, **params},
            round=number,
            **changed,
        )
        for number in range(rounds)
        for name, median in medians.items()
    ]


ASV_COLUMNS = (
    "result",
    "params",
    "version",
    "started_at",
    "duration",
    "stats_ci_99_a",
    "stats_ci_99_b",
    "stats_q_25",
    "stats_q_75",
    "stats_number",
    "stats_repeat",
    "samples",
    "profile",
)


def asv_entry(
    axes: Sequence[Sequence[str]],
    values: Sequence[float | None],
    samples: Sequence[Sequence[float] | None] | None = None,
    version: str = "1",
) -> list[Any]:
    """Return one benchmark's list in an asv result file; a value that is None failed."""
    known = [value is not None and value == value for value in values]
    scaled = [
        [value * factor if fine else None for value, fine in zip(values, known, strict=True)]
        for factor in (0.98, 1.02, 0.99, 1.01)
    ]
    counts = [[count if fine else None for fine in known] for count in (1, 12)]
    entry: list[Any] = [
        list(values),
        [[repr(value) for value in axis] for axis in axes],
        version,
        1795249106794,
        0.9,
        *scaled,
        *counts,
    ]
    return [*entry, list(samples)] if samples is not None else entry


def write_asv(
    folder: Path,
    results: Mapping[str, list[Any]],
    known: Mapping[str, Sequence[str]] | None,
    commit: str = "62589e8ee77dae763d488c2a3608a83818e39589",
    version: str = "1",
    **params: Any,
) -> Path:
    """Write an asv results folder with one machine; ``known`` gives each one's param names."""
    home = folder / "testbox"
    home.mkdir(parents=True, exist_ok=True)
    (home / "machine.json").write_text('{"machine": "testbox", "version": 1}')
    content = {
        "commit_hash": commit,
        "env_name": "existing-py3.11",
        "date": 1795249103000,
        "params": {"machine": "testbox", "cpu": "AMD EPYC", "num_cpu": "2", **params},
        "python": "3.11",
        "requirements": {},
        "env_vars": {},
        "result_columns": list(ASV_COLUMNS),
        "results": results,
        "durations": {"<build>": 0.1},
        "version": 2,
    }
    path = home / f"{commit[:8]}-existing-py3.11.json"
    path.write_text(json.dumps(content))
    if known is not None:
        benchmarks: dict[str, Any] = {
            name: {"name": name, "param_names": list(names), "unit": "seconds", "version": version}
            for name, names in known.items()
        }
        (folder / "benchmarks.json").write_text(json.dumps({**benchmarks, "version": 2}))
    return path


def pytest_benchmark(name: str, data: Sequence[float], **changed: Any) -> dict[str, Any]:
    """Return one benchmark of pytest-benchmark's JSON."""
    q1, median, q3 = (float(value) for value in np.quantile(data, [0.25, 0.5, 0.75]))
    stats = {
        "min": min(data),
        "max": max(data),
        "rounds": len(data),
        "median": median,
        "q1": q1,
        "q3": q3,
        "iqr": q3 - q1,
        "data": list(data),
        "iterations": 1,
    }
    fields = {
        "group": None,
        "name": name,
        "fullname": f"test_x.py::{name}",
        "params": None,
        "param": None,
        "extra_info": {},
        "options": {"timer": "perf_counter"},
        "stats": stats,
    }
    return {**fields, **changed}


def write_pytest(path: Path, benchmarks: Sequence[Mapping[str, Any]], **info: Any) -> Path:
    """Write a file as ``--benchmark-json`` does."""
    machine_info = {
        "node": "testbox",
        "release": "6.18.44",
        "python_version": "3.11.7",
        "cpu": {"brand_raw": "AMD EPYC", "count": 2},
    }
    content = {
        "machine_info": {**machine_info, **info},
        "commit_info": {"id": "62589e8ee77dae763d488c2a3608a83818e39589", "dirty": False},
        "benchmarks": list(benchmarks),
        "datetime": "2026-11-21T08:18:22.524556+00:00",
        "version": "5.3.1",
    }
    path.write_text(json.dumps(content))
    return path


def combinations(**axes: Sequence[Any]) -> list[dict[str, Any]]:
    """Return all combinations of the axes' values."""
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
