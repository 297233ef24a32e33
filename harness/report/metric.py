"""What the bars of a chart mean: throughput where bytes are known, else time or another value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import pandas as pd

from harness.report.bar_chart import Bar

MOST_DOTS: Final = 60
"""Of more samples a case, every so many-th is drawn."""
SMALL: Final = 0.1
"""GB/s below which a chart counts in MB/s."""
TIME_SCALES: Final = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


@dataclass(frozen=True)
class Metric:
    """The quantity of one chart."""

    quantity: str
    """Name and unit."""
    unit: str
    scale: float
    """Of the unit, in GB/s, in seconds or in the value's own unit."""
    is_throughput: bool
    has_limit: bool

    @property
    def better(self) -> str:
        """Which end is the good one, as a caption says it."""
        return "more" if self.is_throughput else "less"

    def bar(self, case: pd.Series, samples: pd.DataFrame | None, *, is_ours: bool) -> Bar:
        """Return a case's bar; a case without usable samples is a note."""
        if case["n"] == 0 or samples is None:
            note = f"{case['status']}: {case['reason']}"
            return Bar(math.nan, math.nan, math.nan, note=note, is_ours=is_ours)
        values = samples["gb_per_s" if self.is_throughput else "value"].to_numpy(dtype=float)
        single = values[samples["n"].to_numpy() == 1]
        dots = single[:: len(single) // MOST_DOTS + 1] / self.scale
        names = ("gb_per_s", "gb_low", "gb_high") if self.is_throughput else _VALUES
        median, low, high = (float(case[name]) / self.scale for name in names)
        limit = float(case["limit_gb_per_s" if self.is_throughput else "ideal_seconds"])
        return Bar(
            median=median,
            low=low,
            high=high,
            dots=tuple(dots.tolist()),
            limit=limit / self.scale if self.has_limit else math.nan,
            share=float(case["efficiency"]),
            is_ours=is_ours,
        )


_VALUES: Final = ("median", "q25", "q75")


def metric_of(cases: pd.DataFrame) -> Metric:
    """Choose what a chart of these cases shows; at least one of them was measured."""
    measured = cases[cases["n"] > 0]
    has_limit = bool(measured["efficiency"].notna().any())
    if measured["gb_per_s"].notna().all():
        small = bool(measured["gb_per_s"].max() < SMALL)
        scale, unit = (1e-3, "MB/s") if small else (1.0, "GB/s")
        return Metric(f"Throughput, {unit}", unit, scale, is_throughput=True, has_limit=has_limit)
    scale, unit = _scale(measured)
    name = "Time" if (measured["unit"] == "seconds").all() else "Value"
    return Metric(f"{name}, {unit}", unit, scale, is_throughput=False, has_limit=has_limit)


def _scale(measured: pd.DataFrame) -> tuple[float, str]:
    if not (measured["unit"] == "seconds").all():
        return 1.0, ", ".join(dict.fromkeys(measured["unit"]))
    largest = float(measured["median"].max())
    return next((item for item in TIME_SCALES if largest >= item[0]), TIME_SCALES[-1])
