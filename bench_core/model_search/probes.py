"""Rates of this machine for an estimate: blocks, reading, decoding, one small fit; in a second."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from bench_core.data import Dataset, SearchData
from bench_core.errors import BenchCoreError
from bench_core.model_search.candidates import Candidates
from bench_core.model_search.engines import engine_class
from bench_core.model_search.expected_work import OURS
from bench_core.model_search.loading import BlockLoader
from bench_core.model_search.meter import Meter
from bench_core.model_search.proxies import Features, Proxy, ProxyError, Task
from bench_core.model_search.rates import BlockRates, measure_blocks
from bench_core.model_search.settings import Settings
from bench_core.models.chains import family
from bench_core.models.chains.resources import input_shapes
from bench_core.snapshots import BlockRef, SnapshotStore

_BLOCKS_SECONDS: Final = 0.6
_PROBE_SECONDS: Final = 0.15
"""For each of the others, about."""
_MANY_TEST_ITEMS: Final = 2048
"""More are not scored by the small fit."""


@dataclass(frozen=True)
class Rates:
    """How fast this machine does what a search consists of, each by itself."""

    blocks: BlockRates
    load_seconds_per_byte: float
    """Of reading blocks as the engine does, from where they are, and making modules of them."""
    initialise_seconds_per_byte: float
    """Of filling new modules with random values and then with others; 0 where no engine does."""
    decode_seconds: float
    """Of an item: read and decoded."""
    finish_seconds: float
    """Of an item: made a model's input."""
    fit_seconds: float
    """Of one proxy fit, whatever the number of training items."""
    fit_seconds_per_item: float
    """Of one proxy fit, for each training item."""


def measure_rates(
    store: SnapshotStore, candidates: Candidates, data: SearchData, settings: Settings
) -> Rates:
    """Measure all rates that the estimate of a search needs.

    Raises:
        CorruptFileError: an item cannot be decoded.
    """
    shapes = input_shapes(data.train.kind, data.train.shape)
    blocks = measure_blocks(
        candidates,
        shapes,
        settings.batch_size,
        settings.device,
        repeats=1,
        limit_seconds=_BLOCKS_SECONDS,
    )
    fixed, per_item = _fit_rates(candidates, data, settings.make_proxy(), settings.batch_size)
    initialises = engine_class(settings.engine).features_on_disk
    decode, finish = _item_rates(data.train, settings.batch_size)
    return Rates(
        blocks=blocks,
        load_seconds_per_byte=_load_rate(store, candidates, settings),
        initialise_seconds_per_byte=_initialise_rate(candidates) if initialises else 0.0,
        decode_seconds=decode,
        finish_seconds=finish,
        fit_seconds=fixed,
        fit_seconds_per_item=per_item,
    )


def _load_rate(store: SnapshotStore, candidates: Candidates, settings: Settings) -> float:
    """Read blocks from all over the models, as the engine does; one that is damaged is passed by.

    What is read stays in the page cache: some of it, so that a cold search is hardly warmer.
    """
    found = engine_class(settings.engine)
    # `torch.load` of a whole model copies from the page cache, as this does.
    policy = "pread" if found.features_on_disk else found.policy
    device = torch.device(settings.device)
    policy = policy if device.type == "cpu" else "auto"
    loader = BlockLoader(store, device, Meter(), settings.verify, policy)
    if settings.engine in (*OURS, "base_tuned"):
        loader = loader.tuned()
    return _seconds_per_byte(candidates, lambda ref: loader.load(ref))


def _initialise_rate(candidates: Candidates) -> float:
    """Make modules as Base does: random values, which others are then copied over."""

    def initialise(ref: BlockRef) -> None:
        owner = family(ref.spec.family)
        module = owner.module(ref.spec)
        owner.initialise(module)
        module.load_state_dict({n: t.clone() for n, t in module.state_dict().items()})

    with torch.random.fork_rng(devices=[]):
        return _seconds_per_byte(candidates, initialise)


def _seconds_per_byte(candidates: Candidates, do: Callable[[BlockRef], object]) -> float:
    """Do something with blocks from all over the models until the time is over."""
    blocks = sorted(candidates.blocks.values(), key=lambda ref: ref.key)
    _try(do, blocks[-1])
    nbytes, started = 0, time.perf_counter()
    for ref in blocks[: len(blocks) - 1] or blocks:
        nbytes += _try(do, ref)
        if time.perf_counter() - started > _PROBE_SECONDS:
            break
    return (time.perf_counter() - started) / nbytes if nbytes else 0.0


def _try(do: Callable[[BlockRef], object], ref: BlockRef) -> int:
    """Return the bytes of a block that something could be done with."""
    try:
        do(ref)
    except BenchCoreError:
        return 0
    return ref.nbytes


def _item_rates(dataset: Dataset, batch_size: int) -> tuple[float, float]:
    """Return the seconds an item of decoding and of finishing; no more items than one batch."""
    one, n_items = _decoding(dataset, range(1)), min(batch_size, len(dataset))
    n_fast = int(_PROBE_SECONDS / sum(one)) if sum(one) else n_items
    n_timed = max(1, min(n_items, n_fast))
    # The first one also paid for what is imported.
    decode, finish = _decoding(dataset, range(len(dataset) - n_timed, len(dataset)))
    return decode / n_timed, finish / n_timed


def _decoding(dataset: Dataset, indices: Sequence[int]) -> tuple[float, float]:
    started = time.perf_counter()
    decoded = dataset.decoded(np.asarray(indices, dtype=np.int64))
    between = time.perf_counter()
    dataset.finished(decoded)
    return between - started, time.perf_counter() - between


def _fit_rates(
    candidates: Candidates, data: SearchData, proxy: Proxy, batch_size: int
) -> tuple[float, float]:
    """Return the seconds of a fit: fixed, and for each training item; by random features.

    A fit to few items and one to four times as many, where time allows.
    """
    dim = Counter(snapshot.feature_dim for snapshot in candidates.snapshots).most_common(1)[0][0]
    least = max(2 * batch_size, len(data.train.classes))
    few = min(len(data.train), least)
    _fit(proxy, data, dim, few, batch_size)  # imports what it needs
    short = _fit(proxy, data, dim, few, batch_size)
    many = min(len(data.train), 4 * few)
    if many == few or 4 * short > 2 * _PROBE_SECONDS:
        return 0.0, short / few
    per_item = max(0.0, (_fit(proxy, data, dim, many, batch_size) - short) / (many - few))
    return max(0.0, short - per_item * few), per_item


def _fit(proxy: Proxy, data: SearchData, dim: int, n_items: int, batch_size: int) -> float:
    """Return the seconds of a fit to random features; 0 where these labels allow none."""
    n_test = min(len(data.test), _MANY_TEST_ITEMS)
    n_classes = len(data.train.classes)
    try:
        task = Task(
            torch.from_numpy(data.train.labels[:n_items]),
            torch.from_numpy(data.test.labels[:n_test]),
            n_classes,
            _batches(n_items, batch_size),
            _batches(n_test, batch_size),
        )
        train, test = _random(n_items, dim), _random(n_test, dim)
        source = (_random(n_items, n_classes), _random(n_test, n_classes))
        features = Features(train, test, *(source if proxy.needs_source else ()))
        started = time.perf_counter()
        proxy.score([features], task, 0)
    except ProxyError:
        return 0.0
    return time.perf_counter() - started


def _random(n_items: int, dim: int) -> torch.Tensor:
    return torch.randn((n_items, dim), generator=torch.Generator().manual_seed(0))


def _batches(n_items: int, size: int) -> tuple[int, ...]:
    return tuple(min(size, n_items - start) for start in range(0, n_items, size))
