"""One row per case: how many samples, their median and spread, throughput, limit and efficiency."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd

from harness.cache import CacheState
from harness.report import table
from harness.statistics import summary

IDENTITY: Final = ("setting", "code", "runner", "case")
"""Samples that agree in these are samples of one case."""

STATUS_ORDER: Final = ("ok", "failed", "unproved", "stale", "skipped")
"""A case is ``ok`` when any sample is; otherwise the first of these that occurs."""


def summarise(samples: pd.DataFrame) -> pd.DataFrame:
    """Summarise samples by case.

    Returns:
        The identity, ``benchmark``, ``status``, ``reason``, ``unit``, ``cache_state``, ``params``,
        a column per parameter; ``n`` (usable samples), ``n_failed, n_unproved, n_skipped,
        n_stale``; ``median, q25, q75, minimum`` in the unit; ``return_seconds``, ``bytes``,
        ``ideal_seconds``, ``read_bytes`` (medians of usable samples); ``gb_per_s, gb_low, gb_high``
        (at the median and the quartiles), ``limit_gb_per_s``, ``efficiency``,
        ``read_amplification`` (bytes from the device over needed ones, of cold and direct reads);
        ``started_at``.
    """
    keys = list(IDENTITY)
    groups = samples.groupby(keys, sort=False)
    cases = groups.agg(
        benchmark=("benchmark", "first"),
        machine=("machine", "first"),
        unit=("unit", "first"),
        cache_state=("cache_state", "first"),
        params=("params", "first"),
        started_at=("started_at", "min"),
    )
    parameters = [table.PARAM + name for name in table.param_columns(samples)]
    cases = cases.join(groups[parameters].first()) if parameters else cases
    cases = cases.join(_statuses(samples, keys))
    good = table.usable(samples)
    cases = cases.join(_statistics(good, keys)).join(_medians(good, keys))
    cases["n"] = cases["n"].fillna(0).astype(int)
    table_of_cases: pd.DataFrame = _with_throughput(cases).reset_index()
    return table_of_cases


def identity_of(case: pd.Series[Any]) -> tuple[Any, ...]:
    """Return the `IDENTITY` of a case, or of any of its samples."""
    return tuple(case[name] for name in IDENTITY)


def case_samples(samples: pd.DataFrame) -> dict[tuple[Any, ...], pd.DataFrame]:
    """Return the usable samples of each case that has any, by its identity."""
    groups = table.usable(samples).groupby(list(IDENTITY), sort=False)
    return {key: rows for key, rows in groups if isinstance(key, tuple)}


def _statuses(samples: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Count the samples by status, and give the first reason of the status that counts."""
    counts = samples.pivot_table(
        index=keys, columns="status", values="benchmark", aggfunc="size", fill_value=0
    ).reindex(columns=list(STATUS_ORDER), fill_value=0)
    position = (counts > 0).to_numpy().argmax(axis=1)
    status = pd.Series(np.array(STATUS_ORDER, dtype=object)[position], index=counts.index)
    reasons = samples[samples["reason"] != ""].groupby([*keys, "status"], sort=False)["reason"]
    first = reasons.first()
    found = first.reindex(pd.MultiIndex.from_tuples([(*key, name) for key, name in status.items()]))
    result = counts.drop(columns="ok").add_prefix("n_")
    stated: pd.DataFrame = result.assign(status=status, reason=found.fillna("").to_numpy())
    return stated


def _statistics(good: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    rows = {key: statistics_of(group) for key, group in good.groupby(keys, sort=False)}
    # One array a level, so that a table without any usable sample has its levels, too.
    levels = zip(*rows, strict=True) if rows else ([] for _ in keys)
    index = pd.MultiIndex.from_arrays([list(level) for level in levels], names=keys)
    columns = ["n", "median", "q25", "q75", "minimum"]
    statistics: pd.DataFrame = pd.DataFrame(
        list(rows.values()), index=index, columns=columns, dtype=np.float64
    )
    return statistics


def statistics_of(group: pd.DataFrame) -> tuple[float, ...]:
    """Summarise a case; results stored without samples keep the newest stored statistics."""
    stored = group[group["n"] > 1]
    if stored.empty:
        found = summary(group["value"].to_numpy())
        return found.n, found.median, found.q25, found.q75, found.minimum
    last = stored.iloc[-1]
    return last["n"], last["value"], last["q25"], last["q75"], np.nan


def _medians(good: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    columns = ["return_seconds", "bytes", "ideal_seconds", "read_bytes"]
    medians: pd.DataFrame = good.groupby(keys, sort=False)[columns].median()
    return medians


def _with_throughput(cases: pd.DataFrame) -> pd.DataFrame:
    is_time = cases["unit"] == "seconds"
    moved = cases["bytes"].where(is_time & (cases["bytes"] > 0)) / 1e9
    ideal = cases["ideal_seconds"].where(cases["ideal_seconds"] > 0)
    derived: pd.DataFrame = cases.assign(
        gb_per_s=moved / cases["median"],
        gb_low=moved / cases["q75"],
        gb_high=moved / cases["q25"],
        limit_gb_per_s=moved / ideal,
        efficiency=ideal / cases["median"].where(is_time),
        read_amplification=(cases["read_bytes"] / cases["bytes"]).where(_is_read(cases)),
    )
    return derived


def _is_read(cases: pd.DataFrame) -> pd.Series[bool]:
    """Return which cases had to fetch their bytes from a device."""
    states = [state.value for state in CacheState if state.is_cold or state is CacheState.DIRECT]
    return cases["cache_state"].isin(states) & (cases["bytes"] > 0)
