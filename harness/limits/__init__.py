"""The machine's limits, by probes of the harness's own: what results are set against.

The probes share no code with bench_core, so that they are a yardstick and not a mirror.
"""

from harness.limits.limit_probe import REFRESHED, LimitProbe, probe, refresh
from harness.limits.model import (
    DRIFT_MARKS_RUN,
    NAMES,
    Limits,
    Reading,
    best,
    best_reading,
    capped,
    drift,
    drifted,
    meaning,
    unit,
)
from harness.limits.store import load, save

__all__ = [
    "DRIFT_MARKS_RUN",
    "NAMES",
    "REFRESHED",
    "LimitProbe",
    "Limits",
    "Reading",
    "best",
    "best_reading",
    "capped",
    "drift",
    "drifted",
    "load",
    "meaning",
    "probe",
    "refresh",
    "save",
    "unit",
]
