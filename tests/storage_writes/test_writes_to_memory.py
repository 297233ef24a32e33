"""The ways to copy to memory: exact, independent of the source, honestly labelled."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from bench_core.errors import SaveError, UnknownNameError, UnsupportedError
from bench_core.models import equal_bytes, tensors
from bench_core.storage_writes import memory_target, memory_targets

ON_CPU = [name for name in memory_targets() if name != "pinned"]
STATE = tensors("tiny_5x4KiB") | {
    "scalar": torch.tensor(3),
    "empty": torch.empty(0, 4),
    "half": torch.arange(6, dtype=torch.bfloat16).reshape(2, 3).t(),
    "flags": torch.tensor([True, False]),
}


@pytest.mark.parametrize("sync", ["none", "end", "each_tensor"])
@pytest.mark.parametrize("name", ON_CPU)
def test_what_is_stored_are_the_values_at_the_copy(name: str, sync: str) -> None:
    target = memory_target(name)
    source = {key: tensor.clone() for key, tensor in STATE.items()}
    target.copy(tensors("stack_4x8KiB"))  # larger, and to be forgotten
    target.copy(source, sync)  # type: ignore[arg-type]
    for tensor in source.values():
        tensor.zero_()
    stored = target.stored()
    assert list(stored) == list(STATE)
    assert all(equal_bytes(stored[key], STATE[key]) for key in STATE)
    target.close()


@pytest.mark.parametrize("name", ON_CPU)
def test_on_a_cpu_no_label_speaks_of_a_device(name: str) -> None:
    label = memory_target(name).label(STATE)
    assert "memcpy" in label or "torch.save" in label
    assert "device" not in label


def test_labels_tell_the_ways_apart() -> None:
    targets = [memory_target(name) for name in memory_targets()]
    assert len({target.on_cpu for target in targets}) == len(targets)
    assert len({target.on_cuda for target in targets}) == len(targets)


def test_the_arena_stays_where_it_is() -> None:
    target = memory_target("arena")
    target.prepare(tensors("stack_2x8KiB"))
    addresses = {target.stored()["layers.0.weight"].data_ptr()}
    for seed in range(3):
        target.copy(tensors("stack_2x8KiB", seed))
        addresses.add(target.stored()["layers.0.weight"].data_ptr())
    assert len(addresses) == 1


def test_pinned_memory_without_a_device_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="these tensors are on the CPU; use 'pageable'"):
        memory_target("pinned").copy(STATE)


def test_an_unknown_target_is_one_clear_line() -> None:
    with pytest.raises(UnknownNameError, match=r"'pagable'.*did you mean 'pageable'"):
        memory_target("pagable")


@contextmanager
def largest_file(nbytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_shared_memory_that_runs_out_is_an_error_not_a_signal() -> None:
    target = memory_target("shared")
    with largest_file(10_000), pytest.raises(SaveError, match=r"cannot hold 20480 bytes more"):
        target.copy(tensors("tiny_5x4KiB"))
    target.copy(STATE)
    assert equal_bytes(target.stored()["half"], STATE["half"])
