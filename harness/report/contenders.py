"""What competes with what: the contenders of a benchmark, each against the best peer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd

from harness.errors import InputError
from harness.report.ratios import ratio_of
from harness.report.summary import identity_of
from harness.report.table import PARAM, param_columns
from harness.statistics import THRESHOLD_FLOOR, Ratio, verdict

NAMING: Final = ("format", "policy", "backend", "variant", "writer", "reader", "method", "way")
"""Parameters that name contenders, the most telling first."""

OURS: Final = frozenset({"direct", "auto"})
"""Contenders that are this project's own: marked in figures, and never their own best peer."""


BEST_PEER: Final = "best peer"
"""What stands for a verdict on the peer that the others are held against."""

ALIKE: Final = "alike"
"""What stands for "unchanged" where two contenders, not two states of the code, are compared."""


def contender_of(cases: pd.DataFrame) -> str | None:
    """Return the parameter that names the contenders of one benchmark's cases, if one does."""
    varying = [name for name in param_columns(cases) if cases[PARAM + name].nunique() > 1]
    return next((name for name in NAMING if name in varying), None)


def others(cases: pd.DataFrame, *excluded: str | None) -> list[str]:
    """Return the parameters that vary over the cases, without the excluded ones."""
    return [
        name
        for name in param_columns(cases)
        if name not in excluded and cases[PARAM + name].nunique() > 1
    ]


def with_best_peer(
    cases: pd.DataFrame,
    samples: Mapping[tuple[Any, ...], pd.DataFrame],
    thresholds: Mapping[tuple[str, str], float],
) -> pd.DataFrame:
    """Compare every case with the fastest peer that did the same work.

    Args:
        cases: the table of `harness.report.summary.summarise`.
        samples: the usable samples of each case, as `case_samples` gives them.
        thresholds: the change that counts, by setting and benchmark, where it is not the floor.

    Returns:
        ``cases`` with ``threshold``, ``best_peer`` (a contender's name), ``ratio, ratio_low,
        ratio_high`` of the times (below 1: faster than the best peer) and ``verdict``; the last
        five are empty where there is no peer.
    """
    keys = zip(cases["setting"], cases["benchmark"], strict=True)
    cases = cases.assign(threshold=[thresholds.get(key, THRESHOLD_FLOOR) for key in keys])
    columns = ["best_peer", "ratio", "ratio_low", "ratio_high", "verdict"]
    found = pd.DataFrame(index=cases.index, columns=columns, dtype=object)
    for _, benchmark in cases.groupby(["setting", "code", "runner", "benchmark"], sort=False):
        contender = contender_of(benchmark)
        if contender is None:
            continue
        for group in same_work(benchmark, contender):
            for index, row in _against_best(group, contender, samples).items():
                found.loc[index] = row
    for name in ("ratio", "ratio_low", "ratio_high"):
        found[name] = found[name].astype(float)
    joined: pd.DataFrame = cases.join(found.fillna({"best_peer": "", "verdict": ""}))
    return joined


def same_work(cases: pd.DataFrame, contender: str) -> list[pd.DataFrame]:
    """Split one benchmark's cases into groups that differ in the contender alone."""
    fixed = [PARAM + name for name in param_columns(cases) if name != contender]
    if not fixed:
        return [cases]
    return [group for _, group in cases.groupby(fixed, sort=False, dropna=False)]


def _against_best(
    group: pd.DataFrame, contender: str, samples: Mapping[tuple[Any, ...], pd.DataFrame]
) -> dict[Any, Sequence[Any]]:
    """Return the new columns of each case of a group, by its index."""
    measured = group[group["n"] > 0]
    peers = measured[~measured[PARAM + contender].isin(OURS)]
    if peers.empty or len(measured) < 2:
        return {}
    best = peers.loc[peers["median"].idxmin()]
    base = samples[identity_of(best)]
    rows: dict[Any, Sequence[Any]] = {}
    for index, case in measured.iterrows():
        if index == best.name:
            rows[index] = (best[PARAM + contender], 1.0, 1.0, 1.0, BEST_PEER)
            continue
        found = _ratio_or_none(samples[identity_of(case)], base)
        if found is not None:
            judged = verdict(found, float(case["threshold"]), THRESHOLD_FLOOR)
            bounds = (found.value, found.low, found.high)
            shown = ALIKE if judged == "unchanged" else judged
            rows[index] = (best[PARAM + contender], *bounds, shown)
    return rows


def _ratio_or_none(a: pd.DataFrame, b: pd.DataFrame) -> Ratio | None:
    """Return the ratio, or None for values that have none, such as a count of 0."""
    try:
        found = ratio_of(a, b)
    except InputError:
        return None
    return found if math.isfinite(found.value) else None
