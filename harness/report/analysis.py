"""Everything that is derived from loaded results, in the order a report needs it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from harness.report import weaknesses
from harness.report.contenders import with_best_peer
from harness.report.summary import case_samples, summarise
from harness.report.table import PUBLISHED, Results
from harness.report.thresholds import thresholds_by_setting
from harness.report.weaknesses import NOT_ON_PAGE
from harness.report.work import Work, works


@dataclass(frozen=True)
class Analysis:
    """Results with their summaries and comparisons."""

    results: Results
    cases: pd.DataFrame
    """One row per case, as `summarise` and `with_best_peer` give it."""
    works: tuple[Work, ...]
    """Of what was measured; published numbers stand in the figures that they declare alone."""
    warnings: tuple[str, ...]
    """What a reader has to know before believing the figures."""


def analyse(results: Results) -> Analysis:
    """Summarise results and compare every case with its best peer."""
    samples = case_samples(results.samples)
    noise = thresholds_by_setting(results.samples)
    cases = with_best_peer(summarise(results.samples), samples, noise)
    own = cases[cases["runner"] != PUBLISHED]
    found = works(own, samples, results.runs, results.settings, results.differences)
    return Analysis(results, cases, tuple(found), tuple(_warnings(results, cases)))


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
    found = weaknesses.find(results, cases)
    yield from weaknesses.together([item for item in found if item.kind not in NOT_ON_PAGE])
    yield from results.notes
