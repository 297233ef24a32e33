"""Finding the best base model: rank trained models by a proxy score on a labelled data set."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from bench_core.data import DataRecipe, SearchData, checked
from bench_core.model_search.context import Context
from bench_core.model_search.engines import Engine, engine_class
from bench_core.model_search.opening import opened_context
from bench_core.model_search.progress import Progress
from bench_core.model_search.result import RoundResult, SearchResult, ranking
from bench_core.model_search.rounds import Rounds
from bench_core.model_search.settings import Settings
from bench_core.model_search.taking_part import stored, taking_part
from bench_core.snapshots import SnapshotStore

LOGGER: Final = logging.getLogger(__name__)


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
            that is available; the engines that share nothing need what they need, and say so where
            one is given); ``device``; ``seed`` of the proxy; ``num_workers`` that decode for
            the published engines; ``paper_exact`` also runs the last round, in which nothing can
            be decided; ``verify=False`` takes blocks as they are read, without a look at their
            checksums, and what is damaged may then be in the journal, too; ``skip_unusable`` goes
            on without models that do not take the data, that lack the classifier the proxy asks
            for, whose manifests cannot be read or whose blocks are damaged; ``workers`` of the
            engine
            ``distributed``, each with the ``budget`` (default: an equal share) and the threads of
            torch that are set here, and the ``ray_address`` of a running Ray (default: one of this
            machine).

    Returns:
        The ranking, the scores of each round, and the work it took.

    Raises:
        SearchError: models, labels or settings that no search can be made of; all that can be seen
            beforehand is refused before anything is computed.
        DataError: the two sides of the data do not fit each other, one is empty, or all items to
            learn from are of one class.
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
    chosen = Settings.of(**settings)
    _say_what_a_budget_is_not_for(chosen)
    wanted = store.names() if names is None else names
    recipe = data if isinstance(data, DataRecipe) else None
    opened = checked(data.load() if isinstance(data, DataRecipe) else data)
    snapshots, unreadable = stored(store, wanted, skip_unusable=chosen.skip_unusable)
    candidates, misfits = taking_part(snapshots, opened, chosen)
    misfits |= unreadable
    with opened_context(
        store,
        candidates,
        opened,
        chosen,
        recipe=recipe,
        journal=journal,
        whole_models=whole_models,
        progress=progress,
    ) as context:
        engine = engine_class(chosen.engine)(context)
        with contextlib.closing(engine):
            return _run(context, engine, chosen, on_round, misfits)


def _say_what_a_budget_is_not_for(chosen: Settings) -> None:
    """Warn where a budget has no effect; no error, for one budget may be meant for many engines."""
    if chosen.budget is not None and not engine_class(chosen.engine).shares:
        LOGGER.warning(
            "engine %r has no memory budget: it takes what its largest model and a batch need, "
            "whatever %s bytes allow",
            chosen.engine,
            f"{chosen.budget:,}",
        )


def _run(
    context: Context,
    engine: Engine,
    chosen: Settings,
    on_round: Callable[[RoundResult], None] | None,
    misfits: Mapping[str, str],
) -> SearchResult:
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
    rounds.prepare()
    started = time.perf_counter()
    rounds.run()
    finished = tuple(rounds.finished)
    unusable = {context.candidates.name(m): reason for m, reason in rounds.unusable.items()}
    ranked = ranking(finished, {**misfits, **unusable})
    seconds = time.perf_counter() - started
    settings = asdict(chosen) | {"budget": context.budget}
    return SearchResult(ranked, finished, context.meter.work, seconds, settings)
