"""Who takes part in a search, and what it refuses before anything is prepared or computed."""

from __future__ import annotations

from collections.abc import Sequence

from bench_core.data import SearchData
from bench_core.errors import CorruptFileError
from bench_core.model_search.batches import cut
from bench_core.model_search.candidates import Candidates
from bench_core.model_search.errors import SearchError
from bench_core.model_search.fitting import fitting, listed
from bench_core.model_search.halving import least_items, plan_rounds
from bench_core.model_search.proxies import Proxy, ProxyError
from bench_core.model_search.round_task import round_task
from bench_core.model_search.settings import Settings
from bench_core.snapshots import Snapshot, SnapshotStore


def stored(
    store: SnapshotStore, names: Sequence[str], *, skip_unusable: bool
) -> tuple[list[Snapshot], dict[str, str]]:
    """Return the models of these names, and for each other one by name why it cannot be read.

    Raises:
        UnknownNameError: there is no such model.
        CorruptFileError: a manifest is damaged, and models are not to be skipped.
    """
    found, unreadable = [], {}
    for name in names:
        try:
            found.append(store.snapshot(name))
        except CorruptFileError as error:
            if not skip_unusable:
                raise
            unreadable[name] = str(error)
    return found, unreadable


def taking_part(
    snapshots: Sequence[Snapshot], data: SearchData, chosen: Settings
) -> tuple[Candidates, dict[str, str]]:
    """Return the models that a search goes over, and for each other one by name why it does not.

    Raises:
        SearchError: models that do not take the data, or lack the classifier that the proxy score
            asks for, where they are not to be skipped; no models, or two of one name; too few
            items for the rounds.
        ProxyError: labels that the proxy score can make nothing of, in all items or in those of
            the first round.
    """
    proxy = chosen.make_proxy()
    misfits: dict[str, str] = {}
    if chosen.skip_unusable:
        snapshots, misfits = fitting(snapshots, data)
    if proxy.needs_source:
        snapshots, headless = _with_head(snapshots, proxy, chosen.skip_unusable)
        misfits |= headless
    candidates = Candidates.of(snapshots, data)
    _check_labels(len(candidates), data, proxy, chosen)
    return candidates, misfits


def _with_head(
    snapshots: Sequence[Snapshot], proxy: Proxy, skip_unusable: bool
) -> tuple[list[Snapshot], dict[str, str]]:
    """Return the models that came with a classifier, and what to say of each other one."""
    headed = [snapshot for snapshot in snapshots if snapshot.head is not None]
    headless = [snapshot.name for snapshot in snapshots if snapshot.head is None]
    if headless and not (skip_unusable and headed):
        raise SearchError(
            f"{len(headless)} of {len(snapshots)} models were stored without their classifier, "
            f"which proxy {proxy.name!r} needs: {listed(headless)}; take "
            "another proxy score, or leave them out (skip_unusable)"
        )
    reason = f"was stored without its classifier, which proxy {proxy.name!r} needs"
    return headed, dict.fromkeys(headless, reason)


def _check_labels(n_models: int, data: SearchData, proxy: Proxy, chosen: Settings) -> None:
    """Refuse labels now that would be refused after all items of a round were computed.

    Later rounds have all items of the first, so what serves there serves in each.
    """
    n_train, halving = len(data.train), chosen.halving
    rounds = plan_rounds(n_models, n_train, halving)
    test = cut("test", 0, len(data.test), chosen.batch_size)
    proxy.check_task(round_task(data, cut("train", 0, n_train, chosen.batch_size), test))
    first = cut("train", 0, rounds[0].stop, chosen.batch_size)
    try:
        proxy.check_task(round_task(data, first, test))
    except ProxyError as error:
        # All items at once passed, so it is the halving that leaves too few of them.
        assert halving is not None
        least = least_items(n_models, halving, _items_needed(data, proxy))
        raise ProxyError(
            f"{error}; the first round has {rounds[0].stop} of the {n_train} training items: give "
            f"at least {least} in this order, or search without halving"
        ) from error


def _items_needed(data: SearchData, proxy: Proxy) -> int:
    """Return how many of the first training items the proxy score can make something of."""
    labels = data.train.labels
    two_classes = int((labels != labels[0]).argmax()) + 1
    return max(two_classes, len(data.train.classes) if proxy.compares_classes else 0)
