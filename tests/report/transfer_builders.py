"""A run folder of searches that transfer weights, with lists beside each sample, for the tests."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from chart_builders import spec
from report_builders import header, write_run

from harness.records import Record

SEARCH = "evolution.Search.time_search"
METHODS = ("noop", "file", "store")
SEEDS = (0, 1, 2)
SECONDS = {"noop": 1.0, "file": 1.4, "store": 1.1}
"""Of one birth."""
BEST = {"noop": 0.93, "file": 0.96, "store": 0.97}
"""What a search comes to in the end; seed 2 stays 0.02 below."""
BYTES = {"noop": 0, "file": 1_000_000, "store": 250_000}
"""What a birth adds to what is stored."""
TIMELINE = spec(
    "timeline",
    title="Best accuracy",
    x="extra.seconds",
    value="extra.best_accuracy",
    series="method",
    thresholds=[0.92, 0.95],
)
SPACE = spec("timeline", x="extra.births", value="extra.stored_bytes", series="method")
LAYERS = spec("histogram", value="extra.transferred_layers", series="method")


def search(method: str, seed: int, births: int = 40, **noted: Any) -> Record:
    """Return a search; ``noted`` replaces what stands beside it."""
    random = np.random.default_rng([METHODS.index(method), seed])
    number = np.arange(1, births + 1)
    end = BEST[method] - (0.02 if seed == 2 else 0.0)
    best = end * np.minimum(1.0, number / (births / 2))
    layers = random.integers(0, 10, births) if method != "noop" else np.zeros(births, int)
    seconds = SECONDS[method] * number
    extra = {
        "seconds": seconds.tolist(),
        "births": number.tolist(),
        "best_accuracy": best.tolist(),
        "mean_accuracy": (0.9 * best).tolist(),
        "stored_bytes": (BYTES[method] * number).tolist(),
        "logical_bytes": (1_000_000 * number).tolist(),
        "transferred_layers": layers.tolist(),
    }
    return Record(
        benchmark=SEARCH,
        params={"method": method, "space": "attn"},
        value=float(seconds[-1]),
        seed=seed,
        process=100 + seed,
        started_at="2026-11-21T08:15:01.000+00:00",
        extra={**extra, **noted},
    )


def searches(births: int = 40, seeds: Sequence[int] = SEEDS) -> list[Record]:
    """Return a search by each method with each seed."""
    return [search(method, seed, births) for method, seed in itertools.product(METHODS, seeds)]


def write_folder(folder: Path, records: Sequence[Record], *figures: Any, **settings: Any) -> Path:
    """Write a run's folder, a file for each seed, whose section declares figures."""
    folder.mkdir(parents=True)
    (folder / "experiment.json").write_text("{}")
    described = [item.model_dump() for item in figures]
    chosen: Mapping[str, Any] = {"figures": described, "code": "c" * 64, **settings}
    for seed in sorted({record.seed for record in records}):
        own = [record for record in records if record.seed == seed]
        write_run(folder / f"{seed}.jsonl", own, header(f"s{seed}", section="wt", settings=chosen))
    return folder
