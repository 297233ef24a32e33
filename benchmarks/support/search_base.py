"""What searches as workloads share: data and rates before the clock, the check, the ideal time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from benchmarks.support.common import COLD, require_cuda
from benchmarks.support.model_sets import ModelSet, search_data
from benchmarks.support.named_params import NamedParams
from harness.errors import WrongResultError

if TYPE_CHECKING:
    from bench_core.model_search import SearchResult
    from harness.limits import Limits

PUBLISHED = ("base", "shift", "alsatian")
HALVING = ("shift", "alsatian", "shared", "distributed")
BATCH_SIZE = 32
SHOWN = 5
"""Places of the ranking that a record holds."""


class SearchBenchmark(NamedParams):
    """Base of the searches: models and data are made before; the clock holds `search` alone.

    Published engines follow the published halving, its last round included; ours ends when nothing
    can be decided any more. Features of Base and SHiFT go through files. What is checked: all
    engines that follow the same halving find the same winner and give the same scores, bit for bit,
    in the rounds that decide; and on every device they rank alike. Base scores every model by all
    items, which may prefer another one; the record's extra names each engine's winner.

    Ideal: the slower of the distinct blocks' time (each batch through each distinct prefix of
    blocks, at the rate that the block reaches alone on this machine, measured before) and the
    distinct bytes at the device's bandwidth, where they are cold; and the proxy as it was.
    """

    unit = "seconds"
    timeout = 7200
    open_params: ClassVar[Sequence[str]] = (
        "architecture",
        "cache",
        "data",
        "device",
        "distribution",
        "engine",
    )

    models: ModelSet
    engine: str
    cache: str
    budget: int | None = None
    n_workers: int = 0
    """Of the engine ``distributed``; 0 for those that compute in this process."""

    def prepare_search(
        self,
        models: ModelSet,
        items: int,
        size: int,
        engine: str,
        cache: str,
        data: str,
        device: str,
    ) -> None:
        """Make data, whole models and rates, all of which are kept for the next samples."""
        import torch

        if device != "cpu":
            require_cuda()
        self.models, self.engine, self.cache = models, engine, cache
        self.timer.device = device
        snapshots = [models.store.snapshot(name) for name in models.names]
        taken = snapshots[0].input
        self.snapshots = snapshots
        self.data = self.cached(
            ("search data", taken, items, size, data),
            lambda: search_data(taken, items, size, data),
        )
        # The bits of scores depend on the number of threads.
        threads = torch.get_num_threads()
        self.case = (str(models.store.folder), tuple(models.names), items, size, data, threads)
        self.candidates, self.rates = self.cached(("rates", device, *self.case), self._rates)
        if engine in ("base", "shift"):
            for name, path in zip(models.names, self._whole_files(), strict=True):
                models.store.export(name, path)

    def run_search(self) -> SearchResult:
        """Search; this is what is timed."""
        from bench_core.model_search import search

        return search(
            self.models.store,
            self.data,
            names=self.models.names,
            engine=self.engine,
            batch_size=BATCH_SIZE,
            budget=self.budget,
            paper_exact=self.engine in PUBLISHED,
            seed=self.seed,
            device=self.timer.device,
            workers=max(1, self.n_workers),
        )

    def files(self) -> Sequence[Path]:
        if self.engine in ("base", "shift"):
            return self._whole_files()
        return [self.models.store.block_path(block) for block in self._blocks().values()]

    def ideal_seconds(self, limits: Limits) -> float | None:
        from bench_core.model_search.rates import distinct_runs

        keys, n_test = self.candidates.keys, len(self.data.test)
        compute = 0.0
        for found in self._deciding(self.result):
            items = found.stop - found.start + (n_test if found.index == 0 else 0)
            runs = distinct_runs([keys[item.model] for item in found.scores])
            compute += sum(self.rates.seconds[key] for key in runs) * items / BATCH_SIZE
        read = limits.seconds("sequential_read", self._distinct_bytes())
        is_cold = self.cache in COLD and read is not None
        proxy = float(self.result.work.seconds["proxy_score"])
        compute /= max(1, self.n_workers)
        return max(compute, read if is_cold and read is not None else 0.0) + proxy

    def verify(self) -> None:
        self._check_scores()
        work = self.result.work
        self.note(
            phases=dict(work.seconds),
            winner=self.result.best,
            ranking=" > ".join(item.name for item in self.result.ranking[:SHOWN]),
            peak_activation_bytes=work.peak_activation_bytes,
            peak_block_bytes=work.peak_block_bytes,
            distinct_bytes=self._distinct_bytes(),
            block_gflops=self.rates.flops_per_second / 1e9,
            **work.counts,
        )

    def _check_scores(self) -> None:
        device, case = self.timer.device, (self.engine in HALVING, self.seed, *self.case)
        table = [row for found in self._deciding(self.result) for row in _rows(found)]
        found = (table, self.result.best)
        if self.cached(("table", device, *case), lambda: found) != found:
            raise WrongResultError(f"{self.engine} gives other scores than the engine before it")
        # Other devices sum in another order: their scores may differ, the ranking must not.
        ranked = [item.name for item in self.result.ranking]
        if self.cached(("ranking", *case), lambda: ranked) != ranked:
            raise WrongResultError(f"{self.engine} ranks otherwise on {device} than elsewhere")

    def _deciding(self, result: SearchResult) -> list[Any]:
        """Return the rounds that tell models apart."""
        return [found for found in result.rounds if len(found.scores) > 1]

    def _rates(self) -> Any:
        from bench_core.model_search.candidates import Candidates
        from bench_core.model_search.rates import measure_blocks
        from bench_core.models.chains.resources import input_shapes

        candidates = Candidates.of(self.snapshots, self.data)
        shapes = input_shapes(self.data.train.kind, self.data.train.shape)
        device = self.timer.device
        return candidates, measure_blocks(candidates, shapes, BATCH_SIZE, device, repeats=3)

    def _blocks(self) -> dict[str, Any]:
        return {block.key: block for snapshot in self.snapshots for block in snapshot.blocks}

    def _distinct_bytes(self) -> int:
        return sum(block.nbytes for block in self._blocks().values())

    def _whole_files(self) -> list[Path]:
        folder = self.models.store.folder / "whole"
        return [folder / f"{name}.pt" for name in self.models.names]


def _rows(found: Any) -> list[tuple[int, str, float, float | None]]:
    return [(found.index, item.name, item.score, item.loss) for item in found.scores]
