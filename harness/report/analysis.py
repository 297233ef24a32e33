"""Everything that is derived from loaded results, in the order a report needs it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import pandas as pd

from harness.limits import Limits, drifted
from harness.report.contenders import with_best_peer
from harness.report.settings import differences
from harness.report.summary import case_samples, summarise
from harness.report.table import Results, RunFacts
from harness.report.thresholds import twin_thresholds
from harness.report.units import count, percent
from harness.report.work import Work, works
from harness.statistics import MINIMUM_SAMPLES, THRESHOLD_FLOOR

NOISY: Final = 0.1
"""Threshold from which the noise of a benchmark is worth a word."""


@dataclass(frozen=True)
class Analysis:
    """Results with their summaries and comparisons."""

    results: Results
    cases: pd.DataFrame
    """One row per case, as `summarise` and `with_best_peer` give it."""
    works: tuple[Work, ...]
    warnings: tuple[str, ...]
    """What a reader has to know before believing the figures."""


def analyse(results: Results) -> Analysis:
    """Summarise results and compare every case with its best peer."""
    samples = case_samples(results.samples)
    cases = with_best_peer(summarise(results.samples), samples, _thresholds(results.samples))
    found = works(cases, samples, results.runs, results.settings, results.differences)
    return Analysis(results, cases, tuple(found), tuple(_warnings(results, cases)))


def _thresholds(samples: pd.DataFrame) -> dict[tuple[str, str], float]:
    """Return the change that counts, by setting and benchmark, where twins tell the noise."""
    return {
        (str(setting), benchmark): threshold
        for setting, rows in samples.groupby("setting", sort=False)
        for benchmark, threshold in twin_thresholds(rows, THRESHOLD_FLOOR).items()
    }


def probes(run: RunFacts) -> tuple[Limits | None, Limits | None]:
    """Return a run's limits as probed at its begin and at its end."""
    found: dict[str, Limits] = {}
    for line in run.limits:
        found[line.when] = Limits.from_dict(line.limits)
    return found.get("begin"), found.get("end")


def not_measured(samples: pd.DataFrame) -> pd.DataFrame:
    """Return every status and reason for which there are samples that no figure contains.

    Returns:
        ``status``, ``reason``, ``n`` (samples) and ``cases`` (names, each once).
    """
    left_out = samples[samples["status"] != "ok"]
    groups = left_out.groupby(["status", "reason"], sort=True)
    table = groups["case"].agg(n="size", cases=lambda names: list(dict.fromkeys(names)))
    listed: pd.DataFrame = table.reset_index()
    return listed


def _warnings(results: Results, cases: pd.DataFrame) -> Iterator[str]:
    yield from _setting_warnings(results)
    for run in results.runs:
        yield from _run_warnings(run)
    yield from _case_warnings(cases)
    yield from results.notes


def _setting_warnings(results: Results) -> Iterator[str]:
    for setting, lines in results.differences.items():
        yield f"runs that differ are mixed on request as {setting}: {'; '.join(lines)}"
    first: dict[str, RunFacts] = {}
    for run in results.runs:
        first.setdefault(results.settings[run.run], run)
    for (name_a, a), (name_b, b) in combinations(first.items(), 2):
        lines = "; ".join(differences(a.setting, b.setting))
        yield f"{name_a} and {name_b} are kept apart because they differ: {lines}"


def _run_warnings(run: RunFacts) -> Iterator[str]:
    begin, end = probes(run)
    if begin is not None and end is not None:
        moved = drifted(begin, end)
        if moved:
            shown = ", ".join(f"{name} {change:+.0%}" for name, change in moved.items())
            yield f"{run.run}: limits drifted by more than 20 % during the run: {shown}"
    if run.dirty:
        yield f"{run.run}: the tree had uncommitted changes beside commit {run.commit[:10]}"
    load, cores = run.facts.get("load_average"), _cores(run.facts)
    if load and cores and load[0] > cores:
        yield f"{run.run}: load average {load[0]:.1f} on {cores} cores when the run began"


def _case_warnings(cases: pd.DataFrame) -> Iterator[str]:
    beyond = cases[cases["efficiency"] > 1]
    if not beyond.empty:
        worst = beyond.loc[beyond["efficiency"].idxmax()]
        yield (
            f"{count(len(beyond), 'case')} faster than the ideal time: a limit was probed too low "
            f"or the ideal leaves something out; most of all {worst['case']} with "
            f"{percent(worst['efficiency'])}"
        )
    noisy = cases[cases["threshold"] > NOISY].groupby("benchmark", sort=False)["threshold"].max()
    for benchmark, threshold in noisy.items():
        yield (
            f"{benchmark} differs that much from itself that only changes beyond "
            f"{percent(threshold)} count"
        )
    few = cases[(cases["n"] > 0) & (cases["n"] < MINIMUM_SAMPLES)]
    if not few.empty:
        yield (
            f"{len(few)} of {len(cases)} cases have fewer than {MINIMUM_SAMPLES} samples: "
            "their ratios and verdicts are weak"
        )


def _cores(facts: Any) -> int | None:
    cpu = facts.get("cpu")
    return cpu.get("usable_cores") if isinstance(cpu, dict) else None
