"""One benchmark's cases as figures and tables take them: what varies, what is fixed, its names."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from harness.report.contenders import contender_of, others
from harness.report.summary import identity_of
from harness.report.table import PARAM, RunFacts, param_columns

CACHE_STATES: Final = {
    "cold_host": "cold (host's cache dropped)",
    "cold_file": "cold (file evicted)",
    "direct": "around the cache (O_DIRECT)",
    "dirty_warm": "just written",
    "warm": "warm",
}
"""Cache states as figures name them, the coldest first."""


_SHARED: Final = ("setting", "code", "benchmark")


@dataclass(frozen=True)
class Work:
    """The cases of one benchmark that were measured in one setting with one state of the code."""

    benchmark: str
    cases: pd.DataFrame
    """Rows of `harness.report.summary.summarise`."""
    samples: Mapping[tuple[Any, ...], pd.DataFrame]
    """The usable samples of each case, by its identity."""
    runs: tuple[RunFacts, ...]
    differences: tuple[str, ...] = ()
    """What differs among the runs, where mixing them was asked for."""

    @property
    def contender(self) -> str | None:
        """The parameter that names the contenders."""
        return contender_of(self.cases)

    def varying(self, *excluded: str | None) -> list[str]:
        """Return the parameters that vary, without the excluded ones."""
        return others(self.cases, *excluded)

    def fixed(self) -> dict[str, Any]:
        """Return the parameters that all cases share."""
        columns = {name: self.cases[PARAM + name] for name in param_columns(self.cases)}
        return {
            name: values.iloc[0]
            for name, values in columns.items()
            if values.notna().all() and values.nunique() == 1
        }

    def split(self, names: Sequence[str]) -> Iterator[Work]:
        """Yield the parts of the work that agree in all these parameters."""
        if not names:
            yield self
            return
        columns = [PARAM + name for name in names]
        for _, part in self.cases.groupby(columns, sort=False, dropna=False):
            yield Work(self.benchmark, part, self.samples, self.runs, self.differences)

    def samples_of(self, case: pd.Series) -> pd.DataFrame | None:
        """Return the usable samples of a case, or None if it has none."""
        return self.samples.get(identity_of(case))


def works(
    cases: pd.DataFrame,
    samples: Mapping[tuple[Any, ...], pd.DataFrame],
    runs: Sequence[RunFacts],
    settings: Mapping[str, str],
    differences: Mapping[str, Sequence[str]],
) -> list[Work]:
    """Split the table of cases into works, in order of appearance.

    Args:
        cases: the table of all cases.
        samples: usable samples by case.
        runs: all runs that were loaded.
        settings: the setting of each run, by its name.
        differences: what differs among the runs of a setting.
    """
    found = []
    for _, part in cases.groupby(["setting", "code", "runner", "benchmark"], sort=False):
        setting, code, benchmark = (str(part[name].iloc[0]) for name in _SHARED)
        own = [run for run in runs if settings[run.run] == setting and run.code == code]
        found.append(
            Work(benchmark, part, samples, tuple(own), tuple(differences.get(setting, ())))
        )
    return found


def described(params: Mapping[str, Any]) -> str:
    """Return parameters as ``model=resnet18, durability=fsync``."""
    return ", ".join(f"{name}={value}" for name, value in params.items())


def caption(work: Work, shown: str) -> str:
    """Return a figure's caption: what is shown, then machine, commit, samples, cache and date."""
    cases = work.cases[work.cases["n"] > 0]
    counts = f"{sample_counts(cases['n'])} a case"
    states = set(cases["cache_state"])
    date = str(cases["started_at"].min())[:10]
    return caption_of(shown, work.runs, counts, states, date, work.differences)


def caption_of(
    shown: str,
    runs: Sequence[RunFacts],
    counts: str,
    states: Collection[str],
    date: str,
    differences: Sequence[str],
) -> str:
    """Return a figure's caption.

    Args:
        shown: sentences on what is shown.
        runs: where the samples come from.
        counts: how many samples stand behind what is drawn.
        states: the cache states of the samples.
        date: the day of the first sample; empty if it is unknown.
        differences: what differs among the runs, where mixing them was asked for.
    """
    known = [name for name in CACHE_STATES if name in states]
    parts = [
        f"Machine {machine_line(runs)}",
        f"commit {', '.join(dict.fromkeys(run.commit_label or 'unknown' for run in runs))}",
        counts,
        f"cache {', '.join(known)}" if known else "no cache state recorded",
        date or "date unknown",
    ]
    mixed = f" Mixed on request: {'; '.join(differences)}." if differences else ""
    return f"{shown} {'; '.join(parts)}.{mixed}"


def sample_counts(numbers: Iterable[float]) -> str:
    """Return ``6 samples``, or ``5 to 6 samples`` where they are not equally many."""
    found = sorted(map(int, numbers))
    low, high = found[0], found[-1]
    return f"{low if low == high else f'{low} to {high}'} sample{'s' if high > 1 else ''}"


def machine_line(runs: Sequence[RunFacts]) -> str:
    """Return the machines' names with what identifies them best."""
    lines = []
    for run in runs:
        about = [
            run.setting[name] for name in ("cpu", "file system", "device") if name in run.setting
        ]
        name = run.machine or "unknown"
        lines.append(f"{name} ({', '.join(about)})" if about else name)
    return ", ".join(dict.fromkeys(lines))
