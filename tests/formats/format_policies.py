"""The ways in which layer loading reads safetensors files, each in the form of a format."""

from __future__ import annotations

from pathlib import Path

from bench_core.formats import Format, Reader
from bench_core.formats.direct import Direct
from bench_core.layer_loading.policies import MAPPED, open_reader

POLICIES = (*MAPPED, "pread")
"""Those that no format has; ``direct`` is one, and ``streamed`` is no reader of its own."""


class ByPolicy(Direct):
    """Written by `Direct`, read in the way of a policy."""

    is_writer = False

    def __init__(self, policy: str) -> None:
        self.policy = policy
        self.is_lazy = policy in MAPPED

    def open(self, path: Path) -> Reader:
        return open_reader(path, None, self.policy, lazy=True, on_host=True)[0]


def by_policy(name: str) -> Format | None:
    """Return the format of a test's parameter such as ``policy mmap``."""
    return ByPolicy(name.removeprefix("policy ")) if name.startswith("policy ") else None


NAMES = [f"policy {policy}" for policy in POLICIES]
