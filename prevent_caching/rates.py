"""Bandwidths as people write them."""

from __future__ import annotations

import re
from decimal import Decimal

from prevent_caching.errors import PreventCachingError

_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1024, "mi": 1024**2, "gi": 1024**3}
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]i?)?b?(?:/s)?", re.IGNORECASE)


class RateError(PreventCachingError, ValueError):
    """A text is not a bandwidth."""


def parse_rate(text: str) -> int:
    """Return bytes per second: ``100MB/s`` and ``100mb`` are 10⁸, ``1GiB/s`` is 2³⁰.

    Decimal unless the unit has an ``i``. Docker reads its own ``mb`` as 1024²: `docker_flags`
    therefore prints plain bytes.

    Raises:
        RateError: another form, or less than one byte.
    """
    match = _RATE.fullmatch(text.strip())
    rate = int(Decimal(match[1]) * _UNITS[(match[2] or "").lower()]) if match else 0
    if rate < 1:
        raise RateError(f"{text!r} is not a bandwidth: write for example 100MB/s or 1GiB/s")
    return rate


def format_rate(bytes_per_second: float) -> str:
    """Return the bandwidth in decimal megabytes, for example ``100.0 MB/s``."""
    return f"{bytes_per_second / 1e6:,.1f} MB/s"
