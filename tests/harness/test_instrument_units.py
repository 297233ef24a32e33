from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import units


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (9.996, "10.0"),
        (0.0123456, "0.0123"),
        (1234.0, "1234"),
        (1.5e9, "1.5e+09"),
        (math.inf, "∞"),
        (math.nan, "–"),
    ],
)
def test_digits(value: float, text: str) -> None:
    assert units.digits(value) == text


@given(st.floats(1e-9, 1e9))
def test_three_digits_are_within_half_a_percent(value: float) -> None:
    assert float(units.digits(value)) == pytest.approx(value, rel=0.00501)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.9996, "seconds", "1.00 s"),
        (0.0123, "seconds", "12.3 ms"),
        (4.2e-7, "s", "420 ns"),
        (256e6, "bytes", "256 MB"),
        (2.2e9, "B/s", "2.20 GB/s"),
        (9000.0, "IOPS", "9,000 IOPS"),
        (1.2e11, "FLOP/s", "120 GFLOP/s"),
        (0.25, "share of pages", "0.250 share of pages"),
        (42.0, "unit", "42.0"),
    ],
)
def test_quantity(value: float, unit: str, text: str) -> None:
    assert units.quantity(value, unit) == text


def test_span_names_a_shared_unit_once() -> None:
    assert units.span(0.114, 0.12, "seconds") == "114–120 ms"
    assert units.span(0.9, 1.1, "seconds") == "900 ms – 1.10 s"


def test_tick_has_no_zeros_behind_the_point() -> None:
    assert units.tick(0.01, "seconds") == "10 ms"
    assert units.tick(1e6, "bytes") == "1 MB"


@pytest.mark.parametrize(
    ("largest", "unit", "expected"),
    [
        (0.25, "seconds", (1e-3, "ms")),
        (900.0, "seconds", (1.0, "s")),
        (0.0, "seconds", (1e-9, "ns")),
        (2.5e9, "bytes", (1e9, "GB")),
        (0.2, "GB/s", (1.0, "GB/s")),
        (7.0, "", (1.0, "")),
    ],
)
def test_the_scale_of_an_axis(largest: float, unit: str, expected: tuple[float, str]) -> None:
    assert units.scale_of(largest, unit) == expected
