"""How much memory a search may take when nobody says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_SHARE: Final = 0.6
"""Of what is available: the rest is for features, the library's own buffers, and others."""


def default_budget() -> int:
    """Return a share of the memory that is available now, in bytes."""
    return int(_available() * _SHARE)


def _available() -> int:
    """Return the available memory: what the kernel says, or the installed memory elsewhere."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
