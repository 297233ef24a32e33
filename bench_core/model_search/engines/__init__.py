"""The engines of a search by name: Base, SHiFT and Alsatian as published, and our own."""

from __future__ import annotations

from typing import Final

from bench_core.errors import UnknownNameError, nearest
from bench_core.model_search.engines.alsatian import Alsatian
from bench_core.model_search.engines.base import Engine
from bench_core.model_search.engines.distributed import Distributed
from bench_core.model_search.engines.shared import Shared
from bench_core.model_search.engines.whole_models import Base, Shift, TunedBase

__all__ = ["ENGINES", "Engine", "engine_class"]

ENGINES: Final[dict[str, type[Engine]]] = {
    engine.name: engine for engine in (Base, TunedBase, Shift, Alsatian, Shared, Distributed)
}


def engine_class(name: str) -> type[Engine]:
    """Return the engine of this name.

    Raises:
        UnknownNameError: there is none; the message lists those there are.
    """
    if name not in ENGINES:
        raise UnknownNameError(
            f"unknown engine {name!r}; expected one of {', '.join(ENGINES)}{nearest(name, ENGINES)}"
        )
    return ENGINES[name]
