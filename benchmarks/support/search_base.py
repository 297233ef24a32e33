"""What searches as workloads share: data and rates before the clock, the check, the ideal time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from benchmarks.support.common import COLD, require_cuda
from benchmarks.support.model_sets import ModelSet, search_data
from benchmarks.support.named_params import NamedParams
from harness.errors import WrongResultError
from harness.records import Param

if TYPE_CHECKING:
    from bench_core.model_search import SearchResult
    from harness.limits import Limits

PUBLISHED = ("base", "shift", "alsatian")
HALVING = ("shift", "alsatian", "shared", "distributed")
SHOWN = 5
"""Places of the ranking that a record holds."""

SHARED: Final[Mapping[str, tuple[Param, ...]]] = {
    "items": (200,),
    "size": (32,),
    "cache": ("warm",),
    "data": ("embedded",),
    "device": ("cpu",),
    "batch_size": (32,),
    "num_workers": (0,),
}
"""Parameters that searches have in common. The published searches took batches of 128 items, which
12 processes decoded; where the machine has two cores and some hundred items, that is no use."""


def axes(**own: tuple[Param, ...]) -> tuple[tuple[tuple[Param, ...], ...], tuple[str, ...]]:
    """Return ``params`` and ``param_names`` of a search: its own ones, then the shared ones."""
    named = {**own, **SHARED}
    return tuple(named.values()), tuple(named)


class SearchBenchmark(NamedParams, ABC):
    """Base of the searches: models and data are made before; the clock holds `search` alone.

    Published engines follow the published halving, its last round included; ours ends when nothing
    can be decided any more. Features of Base and SHiFT go through files. What is checked: all
    engines that follow the same halving find the same winner and give the same scores, bit for bit,
    in the rounds that decide; and on every device they rank alike. Base scores every model by all
    items, which may prefer another one; the record's extra names each engine's winner. Ours checks
    every block by its checksum; the others take what they read.

    Ideal: the slower of the distinct blocks' time (each batch through each distinct prefix of
    blocks, at the rate that the block reaches alone on this machine, measured before) and the
    distinct bytes at the device's bandwidth, where they are cold; and the proxy as it was.
    """

    # Abstract, so that asv takes no base class that a module imports for a benchmark.

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

    engine: str
    budget: int | None = None
    n_workers: int = 0
    """Of the engine ``distributed``; 0 for those that compute in this process."""
    whole_models: Path | None = None
    """Where the models are in a file each, which Base and SHiFT read; None: in the store."""

    @abstractmethod
    def model_set(self, given: Mapping[str, Any]) -> ModelSet:
        """Return the models to search among, made unless they are there.

        Args:
            given: the sample's parameters by name.
        """

    def prepare(self, *params: Any) -> None:
        """Make data, whole models and rates, all of which are kept for the next samples."""
        import torch

        shared = {name: values[0] for name, values in SHARED.items()}
        given: dict[str, Any] = {**shared, **dict(zip(self.param_names, params, strict=True))}
        if given["device"] != "cpu":
            require_cuda()
        self.timer.device = given["device"]
        self.engine, self.cache = given.get("engine", ""), given["cache"]
        self.batch_size, self.num_workers = given["batch_size"], given["num_workers"]
        self.models = models = self.model_set(given)
        self.snapshots = [models.store.snapshot(name) for name in models.names]
        taken = self.snapshots[0].input
        wanted = (given["items"], given["size"], given["data"])
        self.data = self.cached(
            ("search data", taken, *wanted), lambda: search_data(taken, *wanted)
        )
        # The bits of scores depend on the number of threads, and on what is computed together.
        bits = (self.batch_size, torch.get_num_threads())
        self.case = (str(models.store.folder), tuple(models.names), *wanted, *bits)
        rates = ("rates", given["device"], *self.case)
        self.candidates, self.rates = self.cached(rates, self._rates)
        if self.engine in ("base", "shift"):
            for name, path in zip(models.names, self._whole_files(), strict=True):
                models.store.export(name, path)

    def time_search(self, *params: Any) -> SearchResult:
        return self.run_search()

    def run_search(self) -> SearchResult:
        """Search; this is what is timed."""
        from bench_core.model_search import search

        return search(
            self.models.store,
            self.data,
            names=self.models.names,
            whole_models=self.whole_models,
            engine=self.engine,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            budget=self.budget,
            paper_exact=self.engine in PUBLISHED,
            seed=self.seed,
            device=self.timer.device,
            workers=max(1, self.n_workers),
            # Only ours, so that its advantage is not that it trusts the disk.
            verify=self.engine in ("shared", "distributed"),
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
            compute += sum(self.rates.seconds[key] for key in runs) * items / self.batch_size
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
        return candidates, measure_blocks(candidates, shapes, self.batch_size, device, repeats=3)

    def _blocks(self) -> dict[str, Any]:
        return {block.key: block for snapshot in self.snapshots for block in snapshot.blocks}

    def _distinct_bytes(self) -> int:
        return sum(block.nbytes for block in self._blocks().values())

    def _whole_files(self) -> list[Path]:
        folder = self.whole_models or self.models.store.folder / "whole"
        return [folder / f"{name}.pt" for name in self.models.names]


def _rows(found: Any) -> list[tuple[int, str, float, float | None]]:
    return [(found.index, item.name, item.score, item.loss) for item in found.scores]
