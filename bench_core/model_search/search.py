"""Finding the best base model: rank trained models by a proxy score on a labelled data set."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from bench_core.data import DataRecipe, SearchData
from bench_core.model_search.batches import batches_of
from bench_core.model_search.candidates import Candidates
from bench_core.model_search.context import Context
from bench_core.model_search.engines import Engine, engine_class
from bench_core.model_search.environment import environment
from bench_core.model_search.errors import SearchError
from bench_core.model_search.features import DiskFeatures, FeatureStore, MemoryFeatures
from bench_core.model_search.halving import Halving, plan_rounds
from bench_core.model_search.journal import Journal
from bench_core.model_search.loading import BlockLoader
from bench_core.model_search.memory import default_budget
from bench_core.model_search.meter import Meter
from bench_core.model_search.proxies import Proxy
from bench_core.model_search.proxies import get as get_proxy
from bench_core.model_search.result import RoundResult, SearchResult, ranking
from bench_core.model_search.rounds import Rounds
from bench_core.snapshots import SnapshotStore

Progress = Callable[[int, int], None]
"""Called with how many features of a model and a batch there are, and how many there will be."""


@dataclass(frozen=True)
class Settings:
    """How to search; `search` describes each."""

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
    verify: bool = False
    skip_unusable: bool = False
    workers: int = 1
    ray_address: str | None = None

    @property
    def halving(self) -> Halving | None:
        """Successive halving, or None where every model is scored by all items."""
        halves = engine_class(self.engine).halves if self.halve is None else self.halve
        return Halving(self.factor, self.winners, self.paper_exact) if halves else None

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


def search(
    models: SnapshotStore | Path | str,
    data: SearchData | DataRecipe,
    *,
    names: Sequence[str] | None = None,
    journal: Path | str | None = None,
    whole_models: Path | str | None = None,
    progress: Progress | None = None,
    on_round: Callable[[RoundResult], None] | None = None,
    **settings: Any,
) -> SearchResult:
    """Rank models by how well their features suit a data set.

    All engines that follow the same halving give the same table of rounds, models and scores, bit
    for bit on a CPU with the same number of threads, whatever the budget.

    Args:
        models: a store, or its folder.
        data: labelled items to learn from and to be scored on, or the recipe by which they are
            opened: here, and by each worker for itself where there are workers.
        names: which models of the store; None for all.
        journal: a file that keeps finished features; the same search, or a like one, goes on
            from there after an interruption.
        whole_models: for ``base`` and ``shift``: folder of whole models in a file each, made
            before the time is taken; default: ``whole`` in the store's folder.
        progress: is told how far the search has come.
        on_round: is given the result of each round.
        settings: of `Settings`: ``engine`` (``shared``, ``distributed``, ``alsatian``, ``shift``,
            ``base_tuned``, ``base``), ``proxy`` (a name of `proxies.names`) and ``proxy_settings``;
            ``factor`` and ``winners`` of successive halving, ``halve`` to force it on or off;
            ``batch_size``;
            ``budget`` in bytes for blocks and intermediate results (default: 60 % of the memory
            that is available); ``device``; ``seed`` of the proxy; ``num_workers`` that decode for
            the published engines; ``paper_exact`` also runs the last round, in which nothing can
            be decided; ``verify`` checks each block's digest; ``skip_unusable`` goes on without
            models whose blocks are damaged; ``workers`` of the engine ``distributed``, each with
            the ``budget`` (default: an equal share) and the threads of torch that are set here, and
            the ``ray_address`` of a running Ray (default: one of this machine).

    Returns:
        The ranking, the scores of each round, and the work it took.

    Raises:
        SearchError: models, data or settings that no search can be made of.
        BudgetError: too little memory; the text says the least that works.
        CorruptFileError: a block is damaged or missing.
        UnknownNameError: there is no such engine, proxy or model.

    Example:
        >>> from bench_core import data, model_search
        >>> result = model_search.search("models", data.load("digits"))  # doctest: +SKIP
        >>> result.best  # doctest: +SKIP
        'resnet_tiny-top_layers-000'
    """
    store = models if isinstance(models, SnapshotStore) else SnapshotStore(Path(models))
    chosen = Settings(**_frozen(settings))
    chosen.check()
    snapshots = [store.snapshot(name) for name in (store.names() if names is None else names)]
    opened = data.load() if isinstance(data, DataRecipe) else data
    candidates = Candidates.of(snapshots, opened)
    whole = store.folder / "whole" if whole_models is None else Path(whole_models)
    recipe = data if isinstance(data, DataRecipe) else None
    with _context(store, candidates, opened, recipe, chosen, journal, whole, progress) as context:
        engine = engine_class(chosen.engine)(context)
        with contextlib.closing(engine):
            return _run(context, engine, chosen, on_round)


def _run(
    context: Context,
    engine: Engine,
    chosen: Settings,
    on_round: Callable[[RoundResult], None] | None,
) -> SearchResult:
    engine.prepare()
    rounds = Rounds(
        context,
        engine,
        chosen.make_proxy(),
        chosen.halving,
        chosen.batch_size,
        chosen.seed,
        chosen.skip_unusable,
        on_round=on_round,
    )
    started = time.perf_counter()
    rounds.run()
    finished = tuple(rounds.finished)
    unusable = {context.candidates.name(m): reason for m, reason in rounds.unusable.items()}
    ranked = ranking(finished, unusable)
    seconds = time.perf_counter() - started
    settings = asdict(chosen) | {"budget": context.budget}
    return SearchResult(ranked, finished, context.meter.work, seconds, settings)


@contextlib.contextmanager
def _context(
    store: SnapshotStore,
    candidates: Candidates,
    data: SearchData,
    recipe: DataRecipe | None,
    chosen: Settings,
    journal: Path | str | None,
    whole: Path,
    progress: Progress | None,
) -> Iterator[Context]:
    """Open what a search works with, and close it again."""
    meter, device = Meter(), torch.device(chosen.device)
    with contextlib.ExitStack() as stack:
        yield Context(
            candidates=candidates,
            data=data,
            loader=_loader(store, device, meter, chosen),
            features=_features(stack, data, chosen, journal, meter),
            meter=meter,
            device=device,
            budget=default_budget() // chosen.workers if chosen.budget is None else chosen.budget,
            largest_batch=_largest_batch(len(candidates), data, chosen),
            num_workers=chosen.num_workers,
            whole_models=whole,
            advance=_advance(candidates, data, chosen, progress),
            recipe=recipe,
            workers=chosen.workers,
            ray_address=chosen.ray_address,
        )


def _largest_batch(n_models: int, data: SearchData, chosen: Settings) -> int:
    rounds = plan_rounds(n_models, len(data.train), chosen.halving)
    return max(len(b) for r in rounds for b in batches_of(r, len(data.test), chosen.batch_size))


def _loader(
    store: SnapshotStore, device: torch.device, meter: Meter, chosen: Settings
) -> BlockLoader:
    policy = engine_class(chosen.engine).policy
    # Only `auto` knows how to come to a device.
    on_host = device.type == "cpu"
    return BlockLoader(store, device, meter, chosen.verify, policy if on_host else "auto")


def _features(
    stack: contextlib.ExitStack,
    data: SearchData,
    chosen: Settings,
    journal: Path | str | None,
    meter: Meter,
) -> FeatureStore:
    """Return where features go: as published through files, else in memory and the journal."""
    if engine_class(chosen.engine).features_on_disk:
        if journal is not None:
            raise SearchError(
                f"engine {chosen.engine!r} keeps its features as published and has no journal; "
                "take base_tuned, or search without a journal"
            )
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="features-"))
        return DiskFeatures(Path(folder), meter)
    if journal is None:
        return MemoryFeatures(None, meter)
    digests = {"train": data.train.digest, "test": data.test.digest}
    opened = Journal(Path(journal), environment(chosen.device), digests)
    return MemoryFeatures(stack.enter_context(contextlib.closing(opened)), meter)


def _advance(
    candidates: Candidates, data: SearchData, chosen: Settings, progress: Progress | None
) -> Callable[[int], None]:
    """Return what adds up how many features of a model and a batch there are."""
    size = chosen.batch_size
    rounds = plan_rounds(len(candidates), len(data.train), chosen.halving)
    total = sum(r.n_models * -(-(r.stop - r.start) // size) for r in rounds)
    total += len(candidates) * -(-len(data.test) // size)
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)

    return advance


def _frozen(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings with a proxy's own ones as pairs."""
    proxy = settings.get("proxy_settings")
    return settings | {"proxy_settings": tuple(dict(proxy).items())} if proxy else settings
