"""Round trips: right rows, files removed, both cache states, failures kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench_core import formats
from bench_core.errors import MissingExtraError, SaveError, UnknownNameError
from bench_core.formats.safetensors_file import SafetensorsMmap
from bench_core.models import tensors
from bench_core.storage_writes import save_load_roundtrip, with_adam_state

STATE = tensors("tiny_5x4KiB")


@pytest.mark.parametrize("format", ["torch", "safetensors"])
def test_a_round_trip_has_all_its_figures_and_leaves_nothing(tmp_path: Path, format: str) -> None:
    made_cold: list[list[str]] = []

    def make_cold(files: list[Path]) -> None:
        assert all(file.stat().st_size > 5 * 4096 for file in files)
        made_cold.append([file.name for file in files])

    rows = save_load_roundtrip(STATE, tmp_path, format=format, repetitions=2, make_cold=make_cold)
    assert [(row.repetition, row.status, row.reason) for row in rows] == [
        (0, "ok", None),
        (1, "ok", None),
    ]
    for row in rows:
        assert row.return_ns is not None
        assert row.durable_ns is not None
        assert 0 < row.return_ns <= row.durable_ns
        assert row.cold_load_ns
        assert row.warm_load_ns
        assert row.bytes_logical == 5 * 4096
        assert 1 < row.bytes_physical / row.bytes_logical < 1.5
    assert len(made_cold) == 2
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_loaded_cold_where_nothing_makes_it_so(tmp_path: Path) -> None:
    (row,) = save_load_roundtrip(STATE, tmp_path, format="safetensors")
    assert row.cold_load_ns is None
    assert row.warm_load_ns


def test_an_adam_optimizer_makes_three_times_the_bytes(tmp_path: Path) -> None:
    module = torch.nn.BatchNorm1d(1000)  # its batch counter has no moments
    plain = sum(tensor.nbytes for tensor in module.state_dict().values())
    (row,) = save_load_roundtrip(module, tmp_path, format="safetensors", adam=True)
    assert row.status == "ok"
    assert row.bytes_logical == 3 * (plain - 8) + 8
    names = with_adam_state({"w": torch.ones(2), "n": torch.tensor(1)})
    assert list(names) == ["w", "n", "optimizer.exp_avg.w", "optimizer.exp_avg_sq.w"]


def test_a_failure_is_a_row_and_the_next_repetition_runs(tmp_path: Path) -> None:
    calls = []

    def make_cold(files: list[Path]) -> None:
        calls.append(files)
        if len(calls) == 1:
            raise OSError("tmpfs cannot\nbe made cold")

    rows = save_load_roundtrip(
        STATE, tmp_path, format="safetensors", repetitions=2, make_cold=make_cold
    )
    assert [row.status for row in rows] == ["failed", "ok"]
    assert rows[0].reason == "OSError: tmpfs cannot be made cold"
    assert list(tmp_path.iterdir()) == []


class Wrong(SafetensorsMmap):
    """Loses a bit on the way."""

    def write(self, tensors, path, durability=formats.Durability.FSYNC_DIR):  # type: ignore[no-untyped-def]
        changed = {name: tensor.clone() for name, tensor in tensors.items()}
        changed["tensors.3"].view(torch.uint8)[17] ^= 4
        return super().write(changed, path, durability)


class Missing(SafetensorsMmap):
    def write(self, tensors, path, durability=formats.Durability.FSYNC_DIR):  # type: ignore[no-untyped-def]
        raise MissingExtraError("lmdb is not installed; pip install 'bench-core[storage]'")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Wrong, "'tensors.3' came back different"),
        (Missing, "pip install 'bench-core[storage]'"),
    ],
)
def test_wrong_tensors_and_missing_libraries_are_failed_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[SafetensorsMmap], reason: str
) -> None:
    monkeypatch.setattr(formats, "get", lambda _name: kind())
    (row,) = save_load_roundtrip(STATE, tmp_path)
    assert row.status == "failed"
    assert row.reason is not None
    assert reason in row.reason


def test_a_wrong_call_is_an_error_not_a_row(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError):
        save_load_roundtrip(STATE, tmp_path, format="zip")
    with pytest.raises(SaveError, match="choose another folder"):
        save_load_roundtrip(STATE, tmp_path / "nowhere", format="torch")
