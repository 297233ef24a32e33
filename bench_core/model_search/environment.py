"""What, beside model and batch, decides the bits of features."""

from __future__ import annotations

import hashlib

import torch


def environment(device: str) -> str:
    """Return a digest of what computes: version of torch, kind of device, number of threads."""
    cpu = torch.backends.cpu.get_cpu_capability()
    kind = torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else cpu
    text = f"{torch.__version__} {kind} {torch.get_num_threads()}"
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
