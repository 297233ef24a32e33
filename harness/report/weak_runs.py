"""What makes a whole run weak: a machine that was busy, slowed or unsteady; a debugging build."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import pandas as pd

from harness.limits import DRIFT_MARKS_RUN, Limits, drifted
from harness.machine_setting import at
from harness.report.table import RunFacts, usable
from harness.report.weaknesses import Severity, Weakness
from harness.units import byte_count, count, percent, quantity

SLOW_ROUND: Final = 1.25
"""How many times as long as its cases usually take a round must take to be named."""
FEWEST_CASES: Final = 3
"""Cases that must have been slow in one round before the round is blamed and not the case."""

_BUILDS: Final = {
    "python": "Python was built for debugging (Py_DEBUG)",
    "dev_mode": "Python ran in development mode (-X dev)",
    "malloc": "every allocation was checked",
    "sanitizer": "a sanitizer watched every access to memory",
    "tracing": "every line or call of Python was traced",
    "torch": "torch was built for debugging",
}


def find(runs: Sequence[RunFacts], samples: pd.DataFrame) -> Iterator[Weakness]:
    """Yield what makes each run weak.

    Args:
        runs: as `harness.report.shards.whole_runs` gives them.
        samples: of all runs.
    """
    for run in runs:
        for look in _LOOKS:
            for severity, kind, found, mend in look(run):
                yield Weakness(severity, kind, run.run, found, mend)
    yield from _of_samples(samples)


def probes(run: RunFacts) -> tuple[Limits | None, Limits | None]:
    """Return a run's limits as probed at its begin and at its end."""
    found = {line.when: Limits.from_dict(line.limits) for line in run.limits}
    return found.get("begin"), found.get("end")


Finding = tuple[Severity, str, str, str]
"""Severity, kind, what was found, what would mend it."""


def _drift(run: RunFacts) -> Iterator[Finding]:
    begin, end = probes(run)
    if begin is None or end is None:
        return
    moved = drifted(begin, end)
    if moved:
        shown = ", ".join(f"{name} {change:+.0%}" for name, change in moved.items())
        found = f"limits drifted by more than {percent(DRIFT_MARKS_RUN)} during the run: {shown}"
        yield "weak", "drift", found, "run again when nothing else uses the machine"


def _load(run: RunFacts) -> Iterator[Finding]:
    load, cores = run.facts.get("load_average"), at(run.facts, ("cpu", "usable_cores"))
    if load and cores and load[0] > cores:
        found = f"load average {load[0]:.1f} on {cores} cores when the run began"
        yield "weak", "load", found, "end what else runs, or wait for it, and run again"


def _jobs(run: RunFacts) -> Iterator[Finding]:
    jobs = run.chosen.get("jobs")
    if isinstance(jobs, int) and jobs > 1:
        found = f"{jobs} processes measured at once on this machine"
        yield "weak", "at once", found, "run with -j 1: what shares the machine slows each other"


def _slowed(run: RunFacts) -> Iterator[Finding]:
    """Yield if the processor was held back between the first and the last probe of the limits."""
    readings = [line.limits["throttling"] for line in run.limits if "throttling" in line.limits]
    if len(readings) < 2 or not all(isinstance(item, Mapping) for item in readings):
        return
    first, last = readings[0], readings[-1]
    causes = {
        "thermal": ("by heat", "cool the machine, or lower its clock to one that it can keep"),
        "quota": ("by its container's share of the processors", "raise the container's limit"),
    }
    for name, (cause, mend) in causes.items():
        times = int(last.get(name, 0)) - int(first.get(name, 0))
        if times > 0:
            yield "weak", "throttled", f"slowed {count(times, 'time')} {cause} during the run", mend


def _build(run: RunFacts) -> Iterator[Finding]:
    build = run.facts.get("build")
    for name, way in build.items() if isinstance(build, Mapping) else ():
        detail = "" if way is True else f" ({way})"
        found = f"{_BUILDS.get(str(name), str(name))}{detail}"
        yield "weak", "debug build", found, "run again with an ordinary interpreter and library"


def _code(run: RunFacts) -> Iterator[Finding]:
    if run.dirty:
        found = f"the tree had uncommitted changes beside commit {run.commit[:10]}"
        yield "note", "changes", found, "commit them, so that others can measure the same code"


def _clock(run: RunFacts) -> Iterator[Finding]:
    governor, clock = run.facts.get("cpu_governor"), run.facts.get("cpu_clock")
    if governor not in (None, "performance"):
        found = f"the processor's governor is {governor}: its clock follows the load"
        yield "note", "governor", found, "cpupower frequency-set --governor performance"
    if not isinstance(clock, Mapping):
        return
    if clock.get("turbo"):
        found = "the processor may exceed its base clock, and by how much depends on its heat"
        yield "note", "turbo", found, "switch it off where figures of several days are compared"
    highest, rated = clock.get("highest_hz"), clock.get("rated_hz")
    if highest and rated and highest < rated:
        found = f"the clock is held at {quantity(highest, 'Hz')} of {quantity(rated, 'Hz')}"
        yield "note", "capped clock", found, "say so beside the figures, or lift the cap"


def _swap(run: RunFacts) -> Iterator[Finding]:
    swapped = run.facts.get("swapped_bytes")
    if swapped:
        found = f"{byte_count(swapped)} of memory lay in swap space when the run began"
        yield "note", "swap", found, "free memory first: a page that comes back costs milliseconds"


def _unprobed(run: RunFacts) -> Iterator[Finding]:
    if run.runner == "run" and None in probes(run):
        found = "the limits were not probed at both ends, so how steady the machine was is unknown"
        yield "note", "no probe", found, "let the run end, with probe = true in its section"


_LOOKS: Final[tuple[Callable[[RunFacts], Iterator[Finding]], ...]] = (
    _drift,
    _load,
    _jobs,
    _slowed,
    _build,
    _code,
    _clock,
    _swap,
    _unprobed,
)


def _of_samples(samples: pd.DataFrame) -> Iterator[Weakness]:
    good = usable(samples)
    timed = good[(good["unit"] == "seconds") & (good["value"] > 0) & (good["n"] == 1)]
    for source, rows in timed.groupby("source", sort=False):
        yield from _slow_rounds(str(source), rows)
    yield from _one_process(timed)
    yield from _in_a_row(timed)


def _slow_rounds(source: str, rows: pd.DataFrame) -> Iterator[Weakness]:
    """Yield the rounds in which most cases took longer: something else ran."""
    usual = rows.groupby("case", sort=False)["value"].transform("median")
    slowness = rows.assign(slowness=rows["value"] / usual)
    keys = ["run", "seed", "repetition", "round"]
    by_round = slowness.groupby(keys, sort=False)
    for key, part in by_round if rows["round"].nunique() > 2 else ():
        times = float(part.groupby("case", sort=False)["slowness"].median().median())
        cases = part["case"].nunique()
        if cases >= FEWEST_CASES and times > SLOW_ROUND:
            number = int(key[-1]) if isinstance(key, tuple) else 0
            found = f"round {number} took {times:.1f} times as long over {cases} cases"
            mend = "look for what ran then (cron, updates, a backup); medians bear one such round"
            yield Weakness("note", "slow round", source, found, mend, size=times)


def _one_process(timed: pd.DataFrame) -> Iterator[Weakness]:
    """Yield once if every case of the harness's own runs was measured by a single process."""
    own = timed[timed["runner"] == "run"]
    processes = own.groupby(["setting", "code", "case"], sort=False)["process"].nunique()
    if len(processes) and (processes == 1).all():
        found = "one process took all samples of a case: how processes differ is not in them"
        mend = "measure with --set repetitions=3 where small differences matter"
        yield Weakness("note", "one process", count(len(processes), "case"), found, mend)


def _in_a_row(timed: pd.DataFrame) -> Iterator[Weakness]:
    """Yield once if asv measured several commits one after the other."""
    alone = timed[(timed["runner"] == "asv") & (timed["turns"] == "")]
    commits = alone["code"].nunique()
    if commits > 1:
        found = "measured one after the other: what drifts between them looks like a change"
        mend = "bench-core commits A..B --rounds 6 measures them in turns"
        yield Weakness("note", "in a row", count(commits, "commit"), found, mend)
