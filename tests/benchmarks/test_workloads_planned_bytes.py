"""Bytes are known before anything is built, also where not the whole model is moved once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench_core import models
from bench_core.storage_writes.round_trip import with_adam_state
from benchmarks.background_writes import AsyncSave
from benchmarks.first_use import FirstForward
from benchmarks.gpu_synchronisation import Copies
from benchmarks.layer_loading import OneLayer, Subset
from benchmarks.parallel_writes import ConcurrentWriters, Wallclock
from benchmarks.storage_writes import RoundTrip
from benchmarks.support.common import bytes_of
from harness.benchmark import Benchmark

KIB, MIB = 1 << 10, 1 << 20


@pytest.mark.parametrize(
    ("cls", "params", "expected"),
    [
        (OneLayer, {"position": "last", "model": "stack_4x64KiB"}, 64 * KIB),
        (Subset, {"selector": "all", "model": "stack_4x64KiB"}, 256 * KIB),
        (Subset, {"selector": "first_3", "model": "stack_4x64KiB"}, 192 * KIB),
        (Subset, {"selector": "prefix_25", "model": "stack_4x64KiB"}, 64 * KIB),
        (RoundTrip, {"optimizer": "no", "model": "stack_4x64KiB"}, 256 * KIB),
        (RoundTrip, {"optimizer": "adam", "model": "stack_4x64KiB"}, 768 * KIB),
        (ConcurrentWriters, {"processes": 4, "model": "stack_4x64KiB"}, MIB),
        (Wallclock, {"processes": 2, "model": "stack_4x64KiB"}, 512 * KIB),
        (AsyncSave, {"way": "thread", "model": "stack_4x64KiB"}, 256 * KIB),
        (Copies, {"direction": "h2d", "mebibytes": 3}, 3 * MIB),
    ],
)
def test_bytes_follow_from_the_parameters(
    cls: type[Benchmark], params: dict[str, Any], expected: int
) -> None:
    assert cls.planned_bytes(**params) == expected


def test_a_layer_of_unequal_ones_is_the_one_at_its_position() -> None:
    specs = models.specs("nt3_small")
    assert len({spec.nbytes for spec in specs.values()}) > 2
    planned = [OneLayer.planned_bytes(position=p, model="nt3_small") for p in ("first", "last")]
    assert planned == [list(specs.values())[place].nbytes for place in (0, -1)]


def test_whole_numbers_have_no_moments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CORE_DATA", str(tmp_path))
    monkeypatch.setattr("harness.cache.prepare", lambda files, state: None)
    tensors = models.tensors("resnet18")
    assert not all(tensor.is_floating_point() for tensor in tensors.values())
    benchmark = RoundTrip()
    benchmark.prepare("safetensors", "resnet18", "adam")
    assert benchmark.needed_bytes() == bytes_of(with_adam_state(tensors))
    assert RoundTrip.planned_bytes(model="resnet18", optimizer="adam") == benchmark.needed_bytes()


@pytest.mark.parametrize(
    ("format", "cache", "is_mapped"),
    [
        ("auto", "warm", True),
        ("auto", "cold_file", False),
        ("safetensors", "cold_file", True),
        ("torch", "warm", False),
        ("torch_mmap", "warm", True),
    ],
)
def test_the_first_answer_needs_no_embeddings_of_a_mapped_model(
    format: str, cache: str, is_mapped: bool
) -> None:
    specs = models.specs("bert_base")
    looked_up = [name for name in specs if name.endswith("_embeddings.weight")]
    assert len(looked_up) == 3
    whole = sum(spec.nbytes for spec in specs.values())
    part = whole - sum(specs[name].nbytes for name in looked_up)
    planned = FirstForward.planned_bytes(format=format, cache=cache, model="bert_base")
    assert planned == (part if is_mapped else whole)
