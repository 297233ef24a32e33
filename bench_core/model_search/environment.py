"""What, beside model and batch, decides the bits of features."""

from __future__ import annotations

import contextlib
import hashlib

import torch


def environment(device: str) -> str:
    """Return a digest of what computes: version of torch, kind of device, number of threads."""
    kind = torch.backends.cpu.get_cpu_capability()
    if torch.device(device).type == "cuda":
        precision = torch.get_float32_matmul_precision()
        kind = f"{torch.cuda.get_device_name(device)} {precision}"
    text = f"{torch.__version__} {kind} {torch.get_num_threads()}"
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def exact(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Compute convolutions on a GPU in float32, and the same way each time.

    By default cuDNN rounds their inputs to TF32, ten bits of mantissa, and may take another
    algorithm the next time: features would then differ from a CPU's, and from their own, by more
    than the scores of two good models do.
    """
    if device.type != "cuda":
        return contextlib.nullcontext()
    flags: contextlib.AbstractContextManager[None] = torch.backends.cudnn.flags(
        enabled=True, deterministic=True, allow_tf32=False
    )
    return flags
