"""Proxy scores by name: how well a frozen model's features suit a labelled data set."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Final

from bench_core.errors import UnknownNameError, nearest
from bench_core.model_search.proxies.base import Features, Proxy, ProxyError, Score, Task
from bench_core.model_search.proxies.hscore import HScore
from bench_core.model_search.proxies.knn import NearestNeighbours
from bench_core.model_search.proxies.leep import Leep
from bench_core.model_search.proxies.linear import Linear
from bench_core.model_search.proxies.logistic import Logistic
from bench_core.model_search.proxies.logme import LogME
from bench_core.model_search.proxies.nce import NegativeConditionalEntropy
from bench_core.model_search.proxies.ridge import Ridge
from bench_core.model_search.proxies.transrate import TransRate

__all__ = ["Features", "Proxy", "ProxyError", "Score", "Task", "get", "names"]

_CLASSES: Final[dict[str, type[Proxy]]] = {
    proxy.name: proxy
    for proxy in (
        Linear,
        Ridge,
        Logistic,
        NearestNeighbours,
        LogME,
        HScore,
        Leep,
        NegativeConditionalEntropy,
        TransRate,
    )
}


def names() -> list[str]:
    """Return the names of all proxy scores."""
    return list(_CLASSES)


def get(name: str, **settings: Any) -> Proxy:
    """Return the proxy score called ``name``.

    Args:
        name: one of `names`.
        settings: of the proxy's class, such as ``epochs`` of ``linear``.

    Raises:
        UnknownNameError: there is none; the message lists those there are.
        ProxyError: a setting that it does not have, or a value that it does not take.
    """
    if name not in _CLASSES:
        raise UnknownNameError(
            f"unknown proxy {name!r}; expected one of {', '.join(_CLASSES)}"
            f"{nearest(name, _CLASSES)}"
        )
    known = [field.name for field in fields(_CLASSES[name])]  # type: ignore[arg-type]
    for setting in settings:
        if setting not in known:
            raise ProxyError(
                f"proxy {name!r} has no setting {setting!r}; it has {', '.join(known) or 'none'}"
                f"{nearest(setting, known)}"
            )
    return _CLASSES[name](**settings)
