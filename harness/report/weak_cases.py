"""What makes a case weak: too few samples, unproved or failed ones, a wide or a split spread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.report.summary import IDENTITY, case_samples
from harness.report.thresholds import thresholds_by_setting
from harness.report.weaknesses import Severity, Weakness
from harness.statistics import MINIMUM_SAMPLES
from harness.units import count, percent

WIDE: Final = 0.2
"""Distance of the quartiles over the median from which a case is called unsteady."""
NOISY: Final = 0.1
"""Threshold from which the noise of a benchmark is worth a word."""
FEWEST_FOR_MODES: Final = 8
GAP: Final = 2 / 3
"""Share of the range that lies between two modes."""
LEAST_GAP: Final = 0.1
"""Least distance between two modes, over the median, that is worth a word."""

_MORE: Final = {
    "run": "measure with --set rounds=6, or more",
    "asv": "bench-core commits COMMIT --rounds 6",
    "pytest": "raise the class's repeat; bench-core run also interleaves",
}
"""How each runner takes more samples."""


def find(cases: pd.DataFrame, samples: pd.DataFrame) -> Iterator[Weakness]:
    """Yield what makes each case weak.

    Args:
        cases: the table of `harness.report.summary.summarise`.
        samples: what it was made of.
    """
    own = case_samples(samples)
    totals = samples.groupby(list(IDENTITY), sort=False).size()
    for _, case in cases.iterrows():
        key = tuple(case[list(IDENTITY)])
        for look in _LOOKS:
            for severity, kind, found, mend, size in look(case, int(totals[key])):
                yield Weakness(severity, kind, str(case["case"]), found, mend, size)
        yield from _modes(str(case["case"]), own.get(key))
    yield from _noise(samples)


Finding = tuple[Severity, str, str, str, float]
"""Severity, kind, what was found, what would mend it, how bad it is."""


def _failed(case: pd.Series, total: int) -> Iterator[Finding]:
    failed = int(case["n_failed"])
    if failed:
        reason = f": {case['reason']}" if case["status"] == "failed" and case["reason"] else ""
        found = f"{failed} of {count(total, 'sample')} failed{reason}"
        yield "broken", "failed", found, "mend what failed; its log or reason says what", failed


def _unproved(case: pd.Series, total: int) -> Iterator[Finding]:
    unproved = int(case["n_unproved"])
    if unproved:
        found = f"{unproved} of {count(total, 'sample')} not proved to be in its cache state"
        mend = "measure on a file system whose cache can be dropped, when nobody reads the files"
        yield "weak", "unproved", found, mend, unproved / total


def _stale(case: pd.Series, total: int) -> Iterator[Finding]:
    if case["n"] == 0 and case["n_stale"]:
        found = f"{case['reason']}, so it was left out"
        yield "weak", "stale", found, "measure it again: bench-core commits COMMIT", 0.0


def _few(case: pd.Series, total: int) -> Iterator[Finding]:
    # asv keeps one value of what is counted and not timed: counts do not vary.
    is_counted = case["runner"] == "asv" and case["unit"] != "seconds"
    if 0 < case["n"] < MINIMUM_SAMPLES and not is_counted:
        found = f"{count(int(case['n']), 'sample')}, fewer than {MINIMUM_SAMPLES}"
        mend = _MORE.get(str(case["runner"]), _MORE["run"])
        yield "weak", "few samples", found, mend, MINIMUM_SAMPLES - case["n"]


def _beyond(case: pd.Series, total: int) -> Iterator[Finding]:
    if case["efficiency"] > 1:
        found = (
            f"faster than the ideal time ({percent(case['efficiency'])}): a limit was probed too "
            "low, or the ideal leaves something out"
        )
        mend = "run again when nothing else uses the machine, or correct ideal_seconds"
        yield "weak", "beyond the limit", found, mend, case["efficiency"]


def _wide(case: pd.Series, total: int) -> Iterator[Finding]:
    spread = (case["q75"] - case["q25"]) / case["median"] if case["median"] > 0 else 0.0
    if spread > WIDE:
        found = f"the quartiles are {percent(spread)} of the median apart"
        yield "weak", "wide spread", found, "more rounds, on a machine with less else to do", spread


_LOOKS: Final[tuple[Callable[[pd.Series, int], Iterator[Finding]], ...]] = (
    _failed,
    _unproved,
    _stale,
    _few,
    _beyond,
    _wide,
)


def _modes(case: str, rows: pd.DataFrame | None) -> Iterator[Weakness]:
    if rows is None or (rows["n"] > 1).any():
        return
    parts = two_modes(rows["value"].to_numpy())
    if parts is not None:
        low, high, share = parts
        found = f"two modes: {percent(share)} of the samples take {high / low:.2g} times as long"
        mend = "look for what differs between them (huge pages, processor, place on the disk)"
        yield Weakness("note", "two modes", case, found, mend, size=high / low)


def two_modes(values: npt.NDArray[Any]) -> tuple[float, float, float] | None:
    """Return the medians of two modes and the upper one's share, or None if there is one mode.

    Two modes are at least a quarter of the samples each, and the widest gap between neighbours is
    over two thirds of the range. By simulation this occurs in 0.6 % of draws of 8 from a uniform,
    0.2 % from a normal distribution, and more seldom in larger ones.
    """
    if len(values) < FEWEST_FOR_MODES or np.median(values) <= 0:
        return None
    ordered = np.sort(values)
    gaps = np.diff(ordered)
    at = int(gaps.argmax()) + 1
    share = 1 - at / len(ordered)
    is_split = gaps.max() > GAP * (ordered[-1] - ordered[0])
    if not is_split or not 0.25 <= share <= 0.75 or gaps.max() < LEAST_GAP * np.median(values):
        return None
    return float(np.median(ordered[:at])), float(np.median(ordered[at:])), share


def _noise(samples: pd.DataFrame) -> Iterator[Weakness]:
    for (_, benchmark), threshold in thresholds_by_setting(samples).items():
        if threshold > NOISY:
            found = (
                f"differs that much from itself that only changes beyond {percent(threshold)} count"
            )
            mend = "more rounds, on a machine with less else to do"
            yield Weakness("note", "noise", benchmark, found, mend, size=threshold)
