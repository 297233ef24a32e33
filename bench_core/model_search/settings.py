"""How to search: the settings, checked before anything is opened."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch

from bench_core.errors import nearest
from bench_core.model_search.engines import engine_class
from bench_core.model_search.errors import SearchError
from bench_core.model_search.halving import Halving
from bench_core.model_search.memory import default_budget
from bench_core.model_search.proxies import Proxy
from bench_core.model_search.proxies import get as get_proxy


@dataclass(frozen=True)
class Settings:
    """How to search; `bench_core.model_search.search` describes each."""

    engine: str = "shared"
    proxy: str = "linear"
    proxy_settings: tuple[tuple[str, Any], ...] = ()
    factor: int = 2
    winners: int = 1
    halve: bool | None = None
    batch_size: int = 32
    budget: int | None = None
    device: str = "cpu"
    seed: int = 0
    num_workers: int = 0
    paper_exact: bool = False
    verify: bool = True
    skip_unusable: bool = False
    workers: int = 1
    ray_address: str | None = None

    @classmethod
    def of(cls, **settings: Any) -> Settings:
        """Return settings, a proxy's own ones as pairs.

        Raises:
            SearchError: there is no such setting; otherwise as `check`.
            UnknownNameError: as `check`.
        """
        known = [field.name for field in fields(cls)]
        for name in settings:
            if name not in known:
                raise SearchError(
                    f"a search has no setting {name!r}; it has {', '.join(known)}"
                    f"{nearest(name, known)}"
                )
        proxy = settings.get("proxy_settings", ())
        found = cls(**settings | {"proxy_settings": tuple(dict(proxy).items())})
        found.check()
        return found

    @property
    def halving(self) -> Halving | None:
        """Successive halving, or None where every model is scored by all items."""
        halves = engine_class(self.engine).halves if self.halve is None else self.halve
        return Halving(self.factor, self.winners, self.paper_exact) if halves else None

    def bytes_each(self) -> int:
        """Return what each worker may take for blocks and intermediate results, as of now."""
        if self.budget is not None:
            return self.budget
        return default_budget(torch.device(self.device)) // self.workers

    def check(self) -> None:
        """Raise where a setting means nothing.

        Raises:
            SearchError: a number out of range.
            UnknownNameError: there is no such engine or proxy.
        """
        if self.batch_size < 1:
            raise SearchError(f"batches of {self.batch_size} items, at least 1 expected")
        if self.num_workers < 0:
            raise SearchError(f"{self.num_workers} worker processes, 0 or more expected")
        Halving(self.factor, self.winners)
        self._check_workers()
        self.make_proxy()

    def _check_workers(self) -> None:
        if self.workers < 1:
            raise SearchError(f"{self.workers} workers, at least 1 expected")
        here = engine_class(self.engine).is_local
        if here and (self.workers > 1 or self.ray_address is not None):
            raise SearchError(
                f"engine {self.engine!r} has no workers on Ray; take the engine 'distributed'"
            )

    def make_proxy(self) -> Proxy:
        """Return the proxy with its settings."""
        return get_proxy(self.proxy, **dict(self.proxy_settings))
