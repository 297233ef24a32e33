"""The machine's limits as data: what each one means, the better of two probes, their drift."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

DRIFT_MARKS_RUN: Final = 0.20
"""A limit that moved by more than this between two probes marks the run."""

Reading = Mapping[str, float | str]
"""One measurement: ``value`` in the limit's unit, beside what it was measured with."""


def _limit(unit: str, meaning: str, *, lower_is_better: bool = False) -> Any:
    metadata = {"unit": unit, "meaning": meaning, "lower_is_better": lower_is_better}
    return field(default=None, metadata=metadata)


@dataclass(frozen=True)
class Limits:
    """What the machine can do at most, as far as probing finds out; None where it was not probed.

    Every figure is the best of its readings. `notes` says why a limit is None.
    """

    sequential_read: float | None = _limit(
        "B/s", "direct read into touched memory, best over block size and depth"
    )
    sequential_write: float | None = _limit(
        "B/s", "direct overwrite of a preallocated file and one fsync, best over block and depth"
    )
    sequential_write_new: float | None = _limit(
        "B/s", "the same into a new file: created, preallocated, written, fsynced"
    )
    read_into_fresh: float | None = _limit(
        "B/s", "direct read into never-touched memory, best over ways to map it"
    )
    buffered_write: float | None = _limit("B/s", "buffered write of a new file and one fsync")
    random_read_4k: float | None = _limit("IOPS", "direct random 4 KiB read, one at a time")
    random_read_4k_deep: float | None = _limit("IOPS", "direct random 4 KiB read, 32 at a time")
    fsync_seconds: float | None = _limit("s", "append of 4 KiB and fsync", lower_is_better=True)
    memcpy: float | None = _limit("B/s", "copy between touched buffers, one thread")
    memcpy_all_threads: float | None = _limit("B/s", "the same, one thread a core")
    memcpy_fresh: float | None = _limit(
        "B/s", "copy into never-touched memory, one thread, best over ways to map it"
    )
    matmul_flops: float | None = _limit("FLOP/s", "float32 matrix product on the CPU, all threads")
    digest_blake2b: float | None = _limit("B/s", "blake2b digest, one thread")
    h2d_pinned: float | None = _limit("B/s", "host to device, from pinned memory")
    h2d_pageable: float | None = _limit("B/s", "host to device, from pageable memory")
    d2h_pinned: float | None = _limit("B/s", "device to host, into pinned memory")
    d2h_pageable: float | None = _limit("B/s", "device to host, into pageable memory")
    device_matmul_flops: float | None = _limit("FLOP/s", "float32 matrix product on the device")
    readings: Mapping[str, tuple[Reading, ...]] = field(default_factory=dict)
    """Every measurement behind each limit."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Why a limit could not be probed, or what to keep in mind about it."""

    def seconds(self, limit: str, amount: float) -> float | None:
        """Return the time for ``amount`` (bytes, FLOPs, operations) at a limit, if it is known."""
        value: float | None = getattr(self, limit)
        if not value:
            return None
        return amount * value if unit(limit) == "s" else amount / value

    def as_dict(self) -> dict[str, Any]:
        """Return the limits as a record's mapping; what is None is left out."""
        content = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: value for name, value in content.items() if value is not None}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Limits:
        """Build limits from `as_dict`'s mapping, ignoring what this version does not know."""
        known = {item.name for item in fields(cls)}
        values = {name: value for name, value in content.items() if name in known}
        readings = values.get("readings", {})
        values["readings"] = {name: tuple(items) for name, items in readings.items()}
        return cls(**values)

    @classmethod
    def from_readings(
        cls, readings: Mapping[str, tuple[Reading, ...]], notes: Mapping[str, str]
    ) -> Limits:
        """Build limits as the best of each limit's readings."""
        values: dict[str, Any] = {
            name: _best_value(name, [float(item["value"]) for item in items])
            for name, items in readings.items()
            if items
        }
        return cls(readings=dict(readings), notes=dict(notes), **values)


NAMES: Final = tuple(item.name for item in fields(Limits) if item.metadata)
"""The limits by name, in the order of a table."""

_METADATA: Final = {item.name: item.metadata for item in fields(Limits)}


def unit(name: str) -> str:
    """Return a limit's unit: ``B/s``, ``IOPS``, ``s`` or ``FLOP/s``."""
    return str(_METADATA[name]["unit"])


def meaning(name: str) -> str:
    """Return one line that says what a limit measures."""
    return str(_METADATA[name]["meaning"])


HARDER: Final = (
    ("read_into_fresh", "sequential_read"),
    ("sequential_write_new", "sequential_write"),
    ("buffered_write", "sequential_write"),
    ("memcpy", "memcpy_all_threads"),
)
"""Pairs of limits: what was done under the first can be done as fast under the second."""


def credited(readings: Mapping[str, tuple[Reading, ...]]) -> dict[str, tuple[Reading, ...]]:
    """Return the readings with the best of each harder task added to the easier one's.

    On a busy machine the harder task may have had the better moment; a limit below it would be
    none. The reading added says under ``from`` where it comes from.
    """
    found = dict(readings)
    for harder, easier in HARDER:
        if found.get(harder) and found.get(easier):
            most = max(found[harder], key=lambda reading: float(reading["value"]))
            if float(most["value"]) > max(float(item["value"]) for item in found[easier]):
                found[easier] = (*found[easier], {**most, "from": harder})
    return found


def best(a: Limits, b: Limits) -> Limits:
    """Return, limit by limit, the better of two probes, with the readings of both."""
    values: dict[str, Any] = {}
    for name in NAMES:
        known = [value for value in (getattr(a, name), getattr(b, name)) if value is not None]
        values[name] = _best_value(name, known) if known else None
    shared = {**a.readings, **b.readings}
    readings = {name: (*a.readings.get(name, ()), *b.readings.get(name, ())) for name in shared}
    notes = {**b.notes, **a.notes}
    return Limits(**values, readings=readings, notes=notes)


def capped(limits: Limits, read_bps: int | None, write_bps: int | None) -> Limits:
    """Return the limits under bandwidths that the disk is limited to; None leaves a side free."""
    caps = (
        (read_bps, ("sequential_read", "read_into_fresh")),
        (write_bps, ("sequential_write", "sequential_write_new", "buffered_write")),
    )
    found: dict[str, Any] = {
        name: min(value, float(rate))
        for rate, names in caps
        if rate is not None
        for name in names
        if (value := getattr(limits, name)) is not None
    }
    return replace(limits, **found)


def drift(a: Limits, b: Limits) -> dict[str, float]:
    """Return b / a - 1 of each limit that both probes have; for seconds, more means slower."""
    pairs = {name: (getattr(a, name), getattr(b, name)) for name in NAMES}
    return {name: second / first - 1 for name, (first, second) in pairs.items() if first and second}


def drifted(a: Limits, b: Limits, threshold: float = DRIFT_MARKS_RUN) -> dict[str, float]:
    """Return the entries of `drift` that mark a run, in either direction beyond ``threshold``."""
    return {name: value for name, value in drift(a, b).items() if abs(value) > threshold}


def best_reading(limits: Limits, name: str) -> Reading | None:
    """Return the reading that a limit's figure comes from, with its block size, depth, way."""
    readings = limits.readings.get(name, ())
    if not readings:
        return None
    best_value = _best_value(name, [float(item["value"]) for item in readings])
    return next(item for item in readings if item["value"] == best_value)


def _best_value(name: str, values: list[float]) -> float:
    return min(values) if _METADATA[name]["lower_is_better"] else max(values)
