"""Search spaces by name: sequences of choices and the architectures that they stand for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from bench_core.errors import UnknownNameError, nearest
from bench_core.weight_transfer.errors import SpaceError
from bench_core.weight_transfer.spaces.attn import Attn, AttnLarge
from bench_core.weight_transfer.spaces.base import Archs, Position, SearchSpace
from bench_core.weight_transfer.spaces.dense_skip import DenseSkip
from bench_core.weight_transfer.spaces.feed_forward import FeedForward
from bench_core.weight_transfer.spaces.nt3 import Nt3Large, Nt3Small

__all__ = [
    "Archs",
    "Attn",
    "AttnLarge",
    "DenseSkip",
    "FeedForward",
    "Nt3Large",
    "Nt3Small",
    "Position",
    "SearchSpace",
    "get",
    "names",
]

_SPACES: Final[Mapping[str, type[SearchSpace]]] = MappingProxyType(
    {space.name: space for space in (DenseSkip, FeedForward, Attn, AttnLarge, Nt3Small, Nt3Large)}
)


def names() -> tuple[str, ...]:
    """Return the names of the published search spaces."""
    return tuple(_SPACES)


def get(name: str, **settings: Any) -> SearchSpace:
    """Return a search space; settings that are not given are the published ones.

    Lists are taken for tuples, as they come out of JSON.

    Raises:
        UnknownNameError: there is no such space.
        SpaceError: it has no such setting, or the setting cannot be.

    Example:
        >>> get("dense-skip").size == 31**10 * 2**27
        True
        >>> get("feed-forward", layers=2).choices
        (11, 11)
    """
    if name not in _SPACES:
        raise UnknownNameError(
            f"no search space {name!r}, expected one of {', '.join(_SPACES)}"
            f"{nearest(name, _SPACES)}"
        )
    space = _SPACES[name]
    known = [field.name for field in dataclasses.fields(space)]
    for setting in settings:
        if setting not in known:
            raise SpaceError(
                f"{name} has no setting {setting!r}, expected one of {', '.join(known)}"
                f"{nearest(setting, known)}"
            )
    return space(**{key: _hashable(value) for key, value in settings.items()})


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
