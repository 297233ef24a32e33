"""How much memory a search may take when nobody says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import torch

_SHARE: Final = 0.6
"""Of what is available: the rest is for features, the library's own buffers, and others."""


def default_budget(device: torch.device) -> int:
    """Return a share of the memory that is available now where blocks are computed, in bytes."""
    free = _available_on(device) if device.type == "cuda" else _available()
    return int(free * _SHARE)


def _available_on(device: torch.device) -> int:
    """Return a GPU's free memory: what nobody has, and what torch has in store here."""
    in_store = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + in_store


def _available() -> int:
    """Return the available memory: what the kernel says, or the installed memory elsewhere."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
