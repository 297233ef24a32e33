"""What a search does otherwise on a GPU, as far as it can be seen without one."""

from __future__ import annotations

import pytest
import torch

from bench_core.model_search import Settings
from bench_core.model_search.environment import exact


def flags() -> tuple[bool, bool]:
    return torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32


def test_convolutions_on_a_gpu_are_float32_and_repeatable_while_blocks_run() -> None:
    before = flags()
    with exact(torch.device("cuda")):
        assert flags() == (True, False)
    assert flags() == before
    with exact(torch.device("cpu")):
        assert flags() == before


def test_the_default_budget_is_a_share_of_the_device_s_free_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (9_000, 80_000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 1_500)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 500)
    assert Settings(device="cuda").bytes_each() == 6_000
    assert Settings(engine="distributed", device="cuda", workers=2).bytes_each() == 3_000
    assert Settings(device="cuda", budget=7).bytes_each() == 7
    assert Settings().bytes_each() > 10_000
