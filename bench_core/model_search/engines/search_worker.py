"""A worker of a distributed search: our shared engine on some models and batches of each round."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from bench_core.data import DataRecipe, SearchData
from bench_core.model_search.batches import Batch
from bench_core.model_search.candidates import Candidates
from bench_core.model_search.context import Context
from bench_core.model_search.engines.shared import Shared
from bench_core.model_search.environment import environment
from bench_core.model_search.errors import SearchError
from bench_core.model_search.loading import BlockLoader
from bench_core.model_search.meter import Meter, Work
from bench_core.models.chains import skeleton
from bench_core.snapshots import SnapshotStore

Found = list[tuple[str, Batch, torch.Tensor]]
"""Features of shape (items, dim), for each chain and batch."""


@dataclass(frozen=True)
class Setup:
    """What a worker works with; plain data, so that it can be sent anywhere."""

    store: Path
    """Folder of the store, the same for every worker."""
    candidates: Candidates
    verify: bool
    policy: str
    """How blocks are read."""
    device: str
    budget: int
    """Bytes for blocks and intermediate results of one worker."""
    largest_batch: int
    n_threads: int
    """Of torch: as many as where the search began, as the bits of features depend on it."""
    digests: tuple[str, str] | None
    """Of the training and test data, to be found where data are opened anew; None: not checked."""


class Worker:
    """Keeps blocks in memory from round to round, and gives features batch by batch."""

    def __init__(self, setup: Setup, data: SearchData | DataRecipe) -> None:
        """Open store and data, and import what the models are made of: no part of the first round.

        Raises:
            SearchError: the data differ from those that the search began with.
        """
        torch.set_num_threads(setup.n_threads)
        self._meter, self._setup = Meter(), setup
        self._found = _Found()
        for spec in {ref.spec.kind: ref.spec for ref in setup.candidates.blocks.values()}.values():
            skeleton(spec)
        device = torch.device(setup.device)
        store = SnapshotStore(setup.store)
        self._engine = Shared(
            Context(
                candidates=setup.candidates,
                data=_opened(data, setup.digests),
                loader=BlockLoader(store, device, self._meter, setup.verify, setup.policy),
                features=self._found,
                meter=self._meter,
                device=device,
                budget=setup.budget,
                largest_batch=setup.largest_batch,
                num_workers=0,
                whole_models=setup.store,
            )
        )

    def environment(self) -> str:
        """Return what decides the bits of features here."""
        return environment(self._setup.device)

    def extract(self, models: Sequence[int], batches: Sequence[Batch]) -> Iterator[Found | Work]:
        """Yield the features of all models for one batch after the other; at last the work.

        Where blocks have to be read the batches go through together, and come at the end.

        A worker that takes over after another one died yields the same again, in the same order,
        whatever it has in memory: so what has come back already need not come twice.
        """
        before = self._meter.work
        for batch in self._engine.extracted(models, batches):
            yield self._found.taken(batch)
        yield self._meter.work.since(before)


class _Found:
    """Features until they are sent."""

    def __init__(self) -> None:
        self._found: Found = []

    def has(self, chain: str, batch: Batch) -> bool:
        """Say that none is there: who sent the models asked for all."""
        return False

    def put(self, found: Sequence[tuple[str, Batch, torch.Tensor]]) -> None:
        """Keep features until they are sent."""
        self._found += found

    def taken(self, batch: Batch) -> Found:
        """Return those of a batch in the order of their chains, and forget them."""
        taken = sorted((item for item in self._found if item[1] == batch), key=lambda i: i[0])
        self._found = [item for item in self._found if item[1] != batch]
        return taken

    def gather(self, chain: str, batches: Iterable[Batch]) -> torch.Tensor:
        """Refuse: scores are computed where all features come together."""
        raise NotImplementedError("a worker has no features to score")

    def keep_only(self, chains: Iterable[str]) -> None:
        """Keep all: none stays longer than a batch."""


def _opened(data: SearchData | DataRecipe, digests: tuple[str, str] | None) -> SearchData:
    opened = data.load() if isinstance(data, DataRecipe) else data
    if digests not in (None, (opened.train.digest, opened.test.digest)):
        raise SearchError(
            f"{opened.train.name}: a worker found other data than the search began with; put the "
            "same files in the same place on every machine"
        )
    return opened
