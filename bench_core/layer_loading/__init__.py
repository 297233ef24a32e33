"""Loading a part of a model, or all of it, as fast as its place allows: cache, disk or device."""

from __future__ import annotations

from bench_core.formats.direct import release_arenas
from bench_core.layer_loading.load import LoadResult, load, load_into, load_timed
from bench_core.layer_loading.owner_map import load_scattered, read_index
from bench_core.layer_loading.policies import POLICIES
from bench_core.layer_loading.selectors import SELECTORS, select

__all__ = [
    "POLICIES",
    "SELECTORS",
    "LoadResult",
    "load",
    "load_into",
    "load_scattered",
    "load_timed",
    "read_index",
    "release_arenas",
    "select",
]
