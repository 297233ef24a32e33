"""fio beside the probe: its output is read, its failures are said, both move bytes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from instrument_plans import require_direct_io, use_tiny_plans

from harness.errors import RefusedError
from harness.limits import LimitProbe, Limits, fio
from harness.limits.fio import Comparison, FioError
from harness.limits.scratch import MIB, Point, ScratchFile


def output(**sides: dict[str, float]) -> str:
    empty = {"iops": 0, "bw_bytes": 0}
    return json.dumps({"jobs": [{"read": empty, "write": empty, **sides}]})


def test_the_figure_of_the_pattern_is_taken() -> None:
    text = output(read={"iops": 2.5, "bw_bytes": 10}, write={"iops": 7, "bw_bytes": 70})
    assert fio.parse(text, "read") == 10
    assert fio.parse(text, "write") == 70
    assert fio.parse(text, "randread") == 2.5
    assert fio.parse("fio: warning: something\n" + text, "write") == 70


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no read figure"),
        ("fio: failed", "no read figure"),
        ('{"jobs": []}', "no read figure"),
        ('{"jobs": [{"read": {}}]}', "no read figure"),
        (output(), "moved nothing"),
    ],
)
def test_what_is_no_figure_is_refused(text: str, message: str) -> None:
    with pytest.raises(FioError, match=message):
        fio.parse(text, "read")


@pytest.mark.parametrize(
    ("own", "other", "agrees"),
    [
        ((1.0,), (1.2,), True),
        ((1.0,), (1.3,), False),
        ((1.3,), (1.0,), False),
        ((1, 2), (2.1,), True),
    ],
)
def test_agreement_is_within_20_percent_of_the_best(
    own: tuple[float, ...], other: tuple[float, ...], agrees: bool
) -> None:
    compared = Comparison("sequential_read", Point(MIB, 4), own, other)
    assert compared.agrees is agrees
    assert compared.difference == pytest.approx(max(own) / max(other) - 1)


def test_what_fio_reached_the_machine_can_do() -> None:
    compared = Comparison("sequential_read", Point(MIB, 4), (1e9, 2e9), (3e9,))
    found = fio.as_limits([compared])
    assert found.sequential_read == 3e9
    assert found.readings["sequential_read"][-1] == {
        "value": 3e9, "block": MIB, "depth": 4, "from": "fio"
    }  # fmt: skip
    assert len(found.readings["sequential_read"]) == 3


@pytest.mark.parametrize(
    ("speeds", "chosen"),
    [
        ({(1, 1): 9.0, (1, 16): 5.0}, (1, 16)),  # 1 MiB fills no huge page of fio's
        ({(1, 16): 9.5, (16, 32): 10.0}, (1, 16)),  # about as good, and much smaller
        ({(1, 16): 8.0, (16, 32): 10.0}, (16, 32)),
        ({(1, 1): 9.0}, None),
        ({}, None),
    ],
)
def test_where_the_two_are_compared(
    speeds: dict[tuple[int, int], float], chosen: tuple[int, int] | None
) -> None:
    readings = tuple(
        {"value": value, "block": block * MIB, "depth": depth}
        for (block, depth), value in speeds.items()
    )
    found = fio._best_point(Limits(readings={"sequential_read": readings}), "sequential_read")
    assert found == (None if chosen is None else Point(chosen[0] * MIB, chosen[1]))


def test_a_pair_that_differs_is_measured_again_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    own, other, turns = iter((1.0, 1.0, 4.0)), iter((4.0, 2.0, 3.9)), []

    class Probe:
        file = None

        def sequential(self, name: str, point: Point, seconds: float) -> dict[str, float]:
            turns.append("own")
            return {"value": next(own)}

    def measure(*_: object) -> float:
        turns.append("fio")
        return next(other)

    monkeypatch.setattr(fio, "measure", measure)
    monkeypatch.setattr(fio, "find", lambda: Path("fio"))
    readings = {"sequential_read": ({"value": 1.0, "block": 8 * MIB, "depth": 4},)}
    (found,) = fio.compare(Probe(), Limits.from_readings(readings, {}), 0.1)  # type: ignore[arg-type]
    assert turns == ["own", "fio"] * 3
    assert found.own_readings == (1.0, 1.0, 4.0) and found.agrees


def test_without_fio_there_is_no_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(RefusedError, match="fio is not installed"):
        fio.find()


needs_fio = pytest.mark.skipif(shutil.which("fio") is None, reason="fio is not installed")


@needs_fio
def test_fio_and_the_probe_both_move_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_direct_io(tmp_path)
    use_tiny_plans(monkeypatch)
    monkeypatch.setattr(fio, "MOST_ROUNDS", 1)
    points = {
        "sequential_read": {"value": 1.0, "block": 2 * MIB, "depth": 4},
        "sequential_write": {"value": 1.0, "block": 2 * MIB, "depth": 4},
        "random_read_4k": {"value": 1.0, "block": 4096, "depth": 1},
        "random_read_4k_deep": {"value": 1.0, "block": 4096, "depth": 32},
    }
    begin = Limits.from_readings({name: (reading,) for name, reading in points.items()}, {})
    with LimitProbe(tmp_path) as limit_probe:
        found = fio.compare(limit_probe, begin, seconds=0.05)
    assert [item.name for item in found] == list(points)
    for item in found:
        assert item.own > 0 and item.fio > 0
    assert list(tmp_path.iterdir()) == []


@needs_fio
def test_the_complaint_of_fio_is_in_the_error(tmp_path: Path) -> None:
    require_direct_io(tmp_path)
    file = ScratchFile(tmp_path, MIB)
    file.close()
    with pytest.raises(FioError, match="fio failed with exit code 1"):
        fio.measure(file, "read", Point(MIB, 1), 0.05)
