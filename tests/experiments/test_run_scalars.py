"""Scalars of a run: which are sent, and that TensorBoard and Weights & Biases can read them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from run_cells import cell, mark, sample
from run_processes import wait_for

from harness.errors import InputError
from harness.experiments.scalars import Scalars, TensorBoardSink, WandbSink, values

CELL = cell("x", "y")
CASE = "work.Sized.time_work('x')"


class Sent:
    """A sink that keeps what is sent to it."""

    def __init__(self) -> None:
        self.values: list[tuple[str, float, int]] = []
        self.is_closed = False

    def send(self, name: str, value: float, step: int) -> None:
        self.values.append((name, value, step))

    def close(self) -> None:
        self.is_closed = True

    def of(self, name: str) -> list[tuple[float, int]]:
        return [(value, step) for sent, value, step in self.values if sent == name]


def send(sink: Any, *fields: dict[str, Any]) -> None:
    """Let a sink hear of the cell's first samples, with these fields."""
    with Scalars(sink) as scalars:
        scalars.planned([CELL], [])
        scalars.heard(mark(CELL, "begin"))
        for turn, given in zip(CELL.turns, fields, strict=False):
            scalars.heard(sample(CELL, turn, **given))


def test_a_time_has_its_throughput_and_its_efficiency() -> None:
    turn = CELL.turns[0]
    time = sample(CELL, turn, value=0.5, bytes=10**9, ideal_seconds=0.25)
    assert values(time) == {"seconds": 0.5, "gb_per_s": 2.0, "efficiency": 0.5}
    assert values(sample(CELL, turn, value=0.5)) == {"seconds": 0.5}
    rate = sample(CELL, turn, value=3.0, unit="accuracy", bytes=10**9, ideal_seconds=1.0)
    assert values(rate) == {"accuracy": 3.0}
    assert values(sample(CELL, turn, value=0.0, bytes=10**9)) == {"seconds": 0.0}
    assert values(sample(CELL, turn)) == {}


def test_each_case_has_a_curve_with_a_step_a_sample() -> None:
    sent = Sent()
    # x, y, x, y
    send(sent, *({"value": value} for value in (1.0, 2.0, 3.0, 4.0)))
    assert sent.of(f"seconds/{CASE}") == [(1.0, 0), (3.0, 1)]
    assert sent.of("seconds/work.Sized.time_work('y')") == [(2.0, 0), (4.0, 1)]
    assert sent.of("status/ok") == [(1, 1), (2, 2), (3, 3), (4, 4)]
    assert sent.of("progress/cells_done") == [(0, 1), (0, 2), (0, 3), (1, 4)]
    assert sent.is_closed


def test_a_sample_that_is_not_ok_is_counted_and_has_no_value() -> None:
    sent = Sent()
    send(sent, {"value": 1.0, "status": "failed"}, {"value": 2.0, "status": "unproved"})
    assert {name for name, _, _ in sent.values} == {
        "progress/cells_done",
        "status/failed",
        "status/unproved",
    }


def test_what_was_taken_before_is_counted_and_not_sent() -> None:
    sent = Sent()
    with Scalars(sent) as scalars:
        scalars.planned([CELL], [sample(CELL, turn, value=1.0) for turn in CELL.turns[:3]])
        assert sent.values == []
        scalars.heard(sample(CELL, CELL.turns[3], value=2.0))
    assert sent.of("status/ok") == [(4, 4)]


def test_the_sink_is_closed_when_the_run_is_interrupted() -> None:
    sent = Sent()
    with pytest.raises(KeyboardInterrupt), Scalars(sent):
        raise KeyboardInterrupt
    assert sent.is_closed


def test_tensorboard_reads_back_what_was_sent(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    send(TensorBoardSink(tmp_path), *({"value": v, "bytes": 10**9} for v in (0.5, 1.0, 0.25)))
    found = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    curve = [(event.step, event.value) for event in found.Scalars(f"seconds/{CASE}")]
    assert curve == [(0, 0.5), (1, 0.25)]
    assert [event.value for event in found.Scalars(f"gb_per_s/{CASE}")] == [2.0, 4.0]
    assert [event.step for event in found.Scalars("status/ok")] == [1, 2, 3]


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
def test_weights_and_biases_keeps_a_run_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    send(WandbSink(tmp_path, "toys", {"title": "Toys"}), {"value": 0.5}, {"value": 2.0})
    (kept,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    # A process of W&B's own writes it, and may end a little later.
    wait_for(lambda: CASE.encode() in kept.read_bytes(), "no sample came into W&B's file")
    content = kept.read_bytes()
    assert b"toys" in content and b"Toys" in content


@pytest.mark.parametrize(
    ("module", "make"),
    [
        ("torch.utils.tensorboard", lambda folder: TensorBoardSink(folder)),
        ("wandb", lambda folder: WandbSink(folder, "toys", {})),
    ],
)
def test_what_is_not_installed_is_one_line_with_the_extra_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, make: Any
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    name = module.rpartition(".")[2]
    with pytest.raises(InputError, match=rf"^{name} is missing .*'bench-core\[watch\]'$"):
        make(tmp_path)
    assert list(tmp_path.iterdir()) == []
