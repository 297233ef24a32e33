"""Stamps at the boundaries of phases, each after the device is done with what came before."""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch


class Stamps:
    """Nanoseconds of each phase, from a monotonic clock; one that comes twice counts together."""

    def __init__(self, device: str = "cpu") -> None:
        self._device = torch.device(device)
        self._phases: dict[str, int] = {}
        self._last = self._now()

    def end(self, phase: str) -> None:
        """Say that a phase ends here, which began where the last one ended."""
        self.end_both(phase, phase, 0)

    def end_both(self, first: str, second: str, second_ns: int) -> None:
        """Say that two phases end here, the second of which took so long by its own clock."""
        before = self._last
        now = self._now()
        second_ns = min(second_ns, now - before)
        for phase, spent in ((first, now - before - second_ns), (second, second_ns)):
            self._phases[phase] = self._phases.get(phase, 0) + spent
        self._last = now

    @property
    def phases(self) -> Mapping[str, int]:
        """Phase to nanoseconds, in the order of their first ends."""
        return dict(self._phases)

    def _now(self) -> int:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter_ns()
