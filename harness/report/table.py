"""The one table of the report: a row per sample, whatever took it, and what its run shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypedDict

import numpy as np
import pandas as pd

from harness.records import LimitsLine, Param

STALE: Final = "stale"
"""Status, beside those of `harness.records`: measured with another version of the benchmark."""

PUBLISHED: Final = "published"
"""Runner of numbers that nobody measured here: they stand in a paper."""

PARAM: Final = "param_"
"""Prefix of the columns that hold one parameter each."""


class Row(TypedDict, total=False):
    """One sample, or the reason why there is none; a loader states what its source knows."""

    source: str
    """The file."""
    run: str
    """Unique name of the run: samples of two runs are independent."""
    runner: str
    """``run``, ``pytest`` or ``asv``; or ``published``."""
    machine: str
    code: str
    """The commit under test, shortened; a tree with changes is never equal to another one."""
    benchmark: str
    """``module.Class.method``."""
    case: str
    """The benchmark with its parameters: ``module.Class.method('direct', 3)``."""
    params: Mapping[str, Param]
    """Name to value; every name is also a column, see `PARAM`."""
    status: str
    """``ok``, ``failed``, ``unproved``, ``skipped`` or ``stale``."""
    reason: str
    value: float
    """Median where the row stands for many samples."""
    unit: str
    return_seconds: float
    """For writes: when the call returned, before the bytes were durable."""
    bytes: float
    """What the operation had to move."""
    ideal_seconds: float
    """What the machine's limits allow."""
    cache_state: str
    resident_before: float
    """Share of the files' pages in the page cache before the clock, 0 to 1."""
    read_bytes: float
    """Read from block devices while the clock ran."""
    phases: Mapping[str, float]
    """Name to seconds of the parts of one sample."""
    extra: Mapping[str, Any]
    """What else the benchmark noted beside the sample."""
    round: int
    seed: int
    repetition: int
    """How many times the cell had been measured before; rounds begin anew in each."""
    process: int
    turns: str
    """What took turns in the sample's round: a run, or a loop over commits; empty if a case's
    samples were taken in a row."""
    started_at: str
    is_twin: bool
    """Measured beside its case to see how far code differs from itself; never averaged with it."""
    n: int
    """How many samples the row stands for: 1; more for asv results stored without samples; 0
    where there is none."""
    q25: float
    """Only where the row stands for many samples, as `q75`, `low` and `high`."""
    q75: float
    low: float
    """Lower end of the interval that holds the median with 99 % confidence."""
    high: float


NUMBERS: Final = (
    "value",
    "return_seconds",
    "bytes",
    "ideal_seconds",
    "resident_before",
    "read_bytes",
    "round",
    "seed",
    "repetition",
    "process",
    "n",
    "q25",
    "q75",
    "low",
    "high",
)
OBJECTS: Final = ("params", "phases", "extra")
FLAGS: Final = ("is_twin",)
TEXTS: Final = tuple(
    name for name in Row.__annotations__ if name not in (*NUMBERS, *OBJECTS, *FLAGS)
)


@dataclass(frozen=True)
class RunFacts:
    """What all samples of one run share."""

    source: Path
    run: str
    runner: str
    machine: str
    """The machine's name."""
    setting: Mapping[str, str]
    """Facts that must agree before two runs are compared; see `harness.report.settings`."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Everything the source tells about the machine."""
    commit: str = ""
    dirty: bool = False
    started_at: str = ""
    """UTC, ISO 8601."""
    limits: tuple[LimitsLine, ...] = ()
    notes: tuple[str, ...] = ()
    """What the reader left out, and why."""
    command: str = ""
    """How to take such a run again."""
    chosen: Mapping[str, Any] = field(default_factory=dict)
    """What was chosen for the run: seed, rounds, selections, …"""
    section: str = ""
    """The experiment's section, if the run belongs to one."""
    folder: Path | None = None
    """The run's folder, whose files (shards) are of one code; None for a file by itself."""
    shards: int = 1
    """How many files this stands for; see `harness.report.shards`."""
    known_code: str = ""
    """The name of the code under which another run of the same code is known already."""
    quoted: str = ""
    """Where the numbers were published, and what they are; empty for what was measured."""

    @property
    def code(self) -> str:
        """The code's identity: its commit, and beside it a digest, or the run, if it had changes.

        Trees with changes and no digest are never the same code.
        """
        if self.known_code or not self.dirty:
            return self.known_code or self.commit_label
        return f"{self.commit_label} ({self.digest[:8] or self.run})"

    @property
    def digest(self) -> str:
        """Digest of the code that was measured, if the run states it."""
        return str(self.chosen.get("code") or "")

    @property
    def commit_label(self) -> str:
        """The commit as people read it: shortened, marked where the tree had changes."""
        return f"{self.commit[:10]}+changes" if self.dirty else self.commit[:10]


@dataclass(frozen=True)
class Results:
    """All samples that were loaded, and the runs they come from."""

    samples: pd.DataFrame
    """One row per sample; columns as in `Row`, one per parameter (see `PARAM`), the derived
    ``gb_per_s``, ``limit_gb_per_s`` and ``efficiency``, and ``setting``: samples with one setting
    were taken on the same machine with the same software."""
    runs: tuple[RunFacts, ...]
    settings: Mapping[str, str] = field(default_factory=dict)
    """The setting of each run, by the run's name."""
    differences: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What differs among the runs of one setting, where mixing them was asked for."""
    notes: tuple[str, ...] = ()
    """Files that were left out, and why."""


def case_name(benchmark: str, params: Mapping[str, Param]) -> str:
    """Return ``module.Class.method('direct', 3)``, as asv names the case."""
    return f"{benchmark}({', '.join(map(repr, params.values()))})" if params else benchmark


def samples_table(rows: Sequence[Row]) -> pd.DataFrame:
    """Build the table of samples from the loaders' rows; what a row does not state is NaN or ""."""
    columns = {name: [row.get(name) for row in rows] for name in Row.__annotations__}
    columns["case"] = [case_name(row["benchmark"], row["params"]) for row in rows]
    table = pd.DataFrame(
        {
            **{name: pd.Series(columns[name], dtype=np.float64) for name in NUMBERS},
            **{name: pd.Series(columns[name], dtype=object).fillna("") for name in TEXTS},
            **{name: pd.Series(columns[name], dtype=object) for name in OBJECTS},
            **{name: pd.Series(map(bool, columns[name]), dtype=bool) for name in FLAGS},
        }
    )
    return _with_derived(table.join(_param_columns([row["params"] for row in rows])))


def usable(samples: pd.DataFrame) -> pd.DataFrame:
    """Return the samples that may be averaged: fine, and proved where proof was asked for."""
    return _good(samples[~samples["is_twin"]])


def usable_twins(samples: pd.DataFrame) -> pd.DataFrame:
    """Return the twins among the samples that are as good as `usable` ones."""
    return _good(samples[samples["is_twin"]])


def _good(samples: pd.DataFrame) -> pd.DataFrame:
    good: pd.DataFrame = samples[(samples["status"] == "ok") & samples["value"].notna()]
    return good


def param_columns(samples: pd.DataFrame) -> list[str]:
    """Return the names of the parameters that any of the samples has, in order of appearance."""
    names = [str(name) for name in samples.columns if str(name).startswith(PARAM)]
    return [name.removeprefix(PARAM) for name in names if samples[name].notna().any()]


def _param_columns(params: Sequence[Mapping[str, Param]]) -> pd.DataFrame:
    names = dict.fromkeys(name for item in params for name in item)
    columns = {
        PARAM + name: pd.Series([item.get(name) for item in params], dtype=object) for name in names
    }
    table: pd.DataFrame = pd.DataFrame(columns, index=range(len(params)))
    return table


def _with_derived(table: pd.DataFrame) -> pd.DataFrame:
    """Add throughput, its limit and efficiency, where the value is a time."""
    seconds = table["value"].where((table["unit"] == "seconds") & (table["value"] > 0))
    ideal = table["ideal_seconds"].where(table["ideal_seconds"] > 0)
    moved = table["bytes"].where(table["bytes"] > 0)
    derived: pd.DataFrame = table.assign(
        gb_per_s=moved / seconds / 1e9,
        limit_gb_per_s=moved / ideal / 1e9,
        efficiency=ideal / seconds,
    )
    return derived
