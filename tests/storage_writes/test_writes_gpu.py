"""The same promises for tensors on a CUDA device: pinned staging, values at the call."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench_core import formats
from bench_core.models import equal_bytes, tensors
from bench_core.storage_writes import (
    AsyncSaver,
    Staging,
    memory_target,
    memory_targets,
    save,
    write_wallclock,
)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

STATE = tensors("stack_4x1MiB")


def on_device() -> dict[str, torch.Tensor]:
    return {name: tensor.cuda() for name, tensor in STATE.items()}


def is_stored(stored: dict[str, torch.Tensor]) -> bool:
    return all(equal_bytes(stored[name], STATE[name]) for name in STATE)


def load(path: Path, format: str) -> dict[str, torch.Tensor]:
    with formats.get(format).open(path) as reader:
        return {name: tensor.clone() for name, tensor in reader.read().items()}


@pytest.mark.parametrize("format", ["direct", "safetensors", "torch"])
def test_tensors_on_the_device_are_saved(tmp_path: Path, format: str) -> None:
    result = save(on_device(), tmp_path / "m", format=format)
    assert is_stored(load(tmp_path / "m", format))
    assert 0 < result.return_ns <= result.durable_ns


def test_staging_becomes_pinned_when_it_must_and_stays_so() -> None:
    staging = Staging()
    assert not staging.copy(STATE)["layers.0.weight"].is_pinned()
    assert staging.copy(on_device())["layers.0.weight"].is_pinned()
    assert is_stored(staging.copy(STATE))


@pytest.mark.parametrize("sync", ["none", "end", "each_tensor"])
@pytest.mark.parametrize("name", memory_targets())
def test_every_memory_target_holds_the_values(name: str, sync: str) -> None:
    target, source = memory_target(name), on_device()
    target.copy(source, sync)  # type: ignore[arg-type]
    torch.cuda.synchronize()
    assert is_stored(target.stored())
    assert "device" in target.label(source)
    target.close()


@pytest.mark.parametrize("worker", ["thread", "process"])
def test_a_background_save_is_of_the_values_at_the_call(tmp_path: Path, worker: str) -> None:
    source = on_device()
    with AsyncSaver(worker=worker) as saver:  # type: ignore[arg-type]
        pending = saver.save(source, tmp_path / "m")
        for tensor in source.values():
            tensor.zero_()
        pending.result()
    assert is_stored(load(tmp_path / "m", "direct"))


@pytest.mark.parametrize("target", ["disk", "memory"])
def test_parallel_tasks_take_the_devices_in_turn(tmp_path: Path, target: str) -> None:
    rows = write_wallclock(
        model="stack_4x1MiB",
        directory=tmp_path,
        target=target,  # type: ignore[arg-type]
        memory="pinned",
        n_procs=2,
    )
    assert [row.reason for row in rows] == [None, None]
    n_devices = torch.cuda.device_count()
    assert [row.device for row in rows] == [f"cuda:{task % n_devices}" for task in range(2)]
    assert all(row.phases["context"] > 0 for row in rows)
