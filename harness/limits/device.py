"""What the way to a CUDA device and the device itself can do."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Literal

from harness.clock import synchronize
from harness.errors import RefusedError
from harness.limits.model import Reading

if TYPE_CHECKING:
    import torch

COPY_BYTES: Final = 256 << 20

Direction = Literal["h2d", "d2h"]


def require_cuda() -> None:
    """Refuse where torch has no CUDA device.

    Raises:
        RefusedError: torch is not installed, or sees no CUDA device.
    """
    try:
        import torch
    except ImportError as error:
        raise RefusedError("torch is not installed, so no device can be probed") from error
    if not torch.cuda.is_available():
        raise RefusedError("torch sees no CUDA device")


def copies(direction: Direction, *, pinned: bool, repeats: int) -> list[Reading]:
    """Copy 256 MiB between host and device, several times, the first of which is not counted."""
    import torch

    host = torch.empty(COPY_BYTES, dtype=torch.uint8, pin_memory=pinned)
    host.random_(256, generator=torch.Generator().manual_seed(0))
    device = host.cuda()
    target, source = (device, host) if direction == "h2d" else (host, device)
    _timed_copy(target, source)
    return [{"value": COPY_BYTES / _timed_copy(target, source)} for _ in range(repeats)]


def _timed_copy(target: torch.Tensor, source: torch.Tensor) -> float:
    synchronize("cuda")
    begin = time.perf_counter_ns()
    target.copy_(source, non_blocking=True)
    synchronize("cuda")
    return (time.perf_counter_ns() - begin) * 1e-9
