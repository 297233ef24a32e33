"""Making files cold for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from prevent_caching.errors import EvictionRefused
from prevent_caching.eviction import evict


def evict_or_skip(path: Path) -> None:
    """Drop the file's pages from the page cache; skip the test where that is not possible."""
    try:
        left = evict(path)
    except EvictionRefused as refusal:
        pytest.skip(str(refusal))
    if left:
        pytest.skip(f"{left:.0%} of {path} stay in the page cache")
