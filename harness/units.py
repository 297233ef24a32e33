"""Numbers as people read them: three digits and a unit."""

from __future__ import annotations

import math
from typing import Final

_SECONDS: Final = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_BYTES: Final = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))
_THOUSANDS: Final = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))


def digits(value: float) -> str:
    """Return a number with three significant digits, without an exponent where it can be read."""
    if not math.isfinite(value):
        return "∞" if value > 0 else "–"
    if value == 0:
        return "0"
    # Of the rounded value, so that 9.996 does not become 10.00.
    magnitude = math.floor(math.log10(abs(float(f"{value:.3g}"))))
    if magnitude < -4 or magnitude > 6:
        return f"{value:.3g}"
    return f"{value:.{max(2 - magnitude, 0)}f}"


def scale_of(largest: float, unit: str) -> tuple[float, str]:
    """Return what to divide values by on an axis that reaches ``largest``, and their unit then."""
    if unit not in ("seconds", "bytes"):
        return 1.0, unit
    scales = _SECONDS if unit == "seconds" else _BYTES
    return next((item for item in scales if largest >= item[0]), scales[-1])


def tick(value: float, unit: str) -> str:
    """Return a round value, as on an axis, such as ``10 ms``: no zeros behind the point."""
    number, _, name = quantity(value, unit).partition(" ")
    return f"{float(number):g} {name}"


def seconds(value: float) -> str:
    """Return a time such as ``12.3 ms``."""
    return _scaled(value, _SECONDS)


def byte_count(value: float) -> str:
    """Return a size such as ``256 MB`` (powers of ten)."""
    return _scaled(value, _BYTES)


def quantity(value: float, unit: str) -> str:
    """Return a value in one of the units of records and limits: seconds, bytes, B/s, IOPS, …"""
    if unit in ("seconds", "s"):
        return seconds(value)
    if unit in ("bytes", "B"):
        return byte_count(value)
    if unit == "B/s":
        return f"{byte_count(value)}/s"
    if unit == "FLOP/s":
        return _scaled(value, tuple((scale, f"{name}FLOP/s") for scale, name in _THOUSANDS))
    return f"{_grouped(value)} {unit}".rstrip() if unit != "unit" else _grouped(value)


def span(low: float, high: float, unit: str) -> str:
    """Return both ends of a range, the unit once where both have it: ``114–120 ms``."""
    first, second = quantity(low, unit), quantity(high, unit)
    number, _, name = first.partition(" ")
    return f"{number}–{second}" if name == second.partition(" ")[2] else f"{first} – {second}"


def percent(value: float) -> str:
    """Return a share such as ``85 %``."""
    return "–" if math.isnan(value) else f"{value:.0%}".replace("%", " %")


def count(number: int, noun: str) -> str:
    """Return ``1 sample`` or ``2 samples``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def interval(value: float, low: float, high: float) -> str:
    """Return a ratio with its interval: ``0.62 [0.58, 0.66]``."""
    return f"{digits(value)} [{digits(low)}, {digits(high)}]"


def _grouped(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 and math.isfinite(value) else digits(value)


def _scaled(value: float, scales: tuple[tuple[float, str], ...]) -> str:
    if not math.isfinite(value):
        return digits(value)
    for scale, name in scales:
        # The factor lets 999.6 ms become 1.00 s instead of 1000 ms.
        if abs(value) >= 0.9995 * scale:
            return f"{digits(value / scale)} {name}"
    scale, name = scales[-1]
    return f"{digits(value / scale)} {name}"
