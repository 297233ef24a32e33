"""How long a consumer waits for its data, and loading and inference together."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.inference import chain_modules, flops_of, require_alike
from benchmarks.support.common import COLD
from benchmarks.support.loading_items import (
    KINDS,
    SIZE,
    START,
    Items,
    data_set,
    expected_item,
    item_files,
    torch_batches,
)
from benchmarks.support.named_params import NamedParams, check_names
from harness.benchmark import Benchmark
from harness.errors import InputError, RefusedError, WrongResultError
from harness.records import Param

if TYPE_CHECKING:
    import torch

    from bench_core.data import Dataset
    from harness.limits import Limits

LOADERS: Final = ("torch", "library", "feeder", "kept")
WITHOUT_WORKERS: Final = ("feeder", "kept")


class DataLoading(NamedParams):
    """The seconds that a consumer waits for its first batches: the start of the workers is inside.

    Workers are forked, as torch's are by default on Linux up to Python 3.13.

    ``loader``: ``torch`` is torch's DataLoader over single items; ``library`` makes whole batches
    in worker processes; ``feeder`` is what a search uses: a thread, one batch ahead, several images
    decoded at a time; ``kept`` is the feeder over images that are decoded already, in memory, as
    when they are used again. ``sleep``: seconds that the consumer computes elsewhere after each
    batch, outside of what is counted. Workers may load ahead and decoding has no limit that is
    probed: there is no ideal time.
    """

    params = (LOADERS, tuple(KINDS), (8,), (0, 2), (0.0,), (3,), ("warm",))
    param_names = ("loader", "kind", "batch_size", "workers", "sleep", "batches", "cache")
    quick = {"loader": ("torch", "feeder")}
    open_params = ("cache",)
    unit = "seconds"
    timeout = 1800

    def prepare(
        self,
        loader: str,
        kind: str,
        batch_size: int,
        workers: int,
        sleep: float,
        batches: int,
        cache: str,
    ) -> None:
        if loader in WITHOUT_WORKERS and workers:
            raise RefusedError(f"{loader} loads by a thread and starts no workers")
        if loader == "kept" and kind == "preprocessed":
            raise RefusedError("preprocessed items are kept as they are loaded: nothing is decoded")
        self.kind, self.batch_size, self.is_cold = kind, batch_size, cache in COLD
        self.paths = item_files(kind, batches * batch_size, self.seed)
        self.nbytes = sum(path.stat().st_size for path in self.paths)
        self.start = _starter(loader, kind, self.paths, batch_size, workers)
        self.waits: list[float] = []
        self.ends: list[tuple[int, torch.Tensor, torch.Tensor]] = []

    def files(self) -> Sequence[Path]:
        return self.paths

    def track_waited(
        self,
        loader: str,
        kind: str,
        batch_size: int,
        workers: int,
        sleep: float,
        batches: int,
        cache: str,
    ) -> float:
        started = time.perf_counter()
        supply = self.start()
        for index in range(batches):
            batch = next(supply)
            self.waits.append(time.perf_counter() - started)
            # Whole batches of a large run would fill the memory.
            self.ends.append((len(batch), batch[0].clone(), batch[-1].clone()))
            if index + 1 < batches:
                time.sleep(sleep)
            started = time.perf_counter()
        return sum(self.waits)

    def needed_bytes(self) -> int | None:
        """Return the files' bytes where they are proved to come from the disk."""
        return self.nbytes if self.is_cold else None

    def verify(self) -> None:
        for position, (count, *found) in enumerate(self.ends):
            if count != self.batch_size:
                raise WrongResultError(f"batch {position} has {count} items")
            first = position * self.batch_size
            for item, index in zip(found, (first, first + count - 1), strict=True):
                self._require_item(item, index)
        items = len(self.waits) * self.batch_size
        self.note(
            batch_seconds=self.waits,
            first_batch_seconds=self.waits[0],
            median_batch_seconds=statistics.median(self.waits),
            milliseconds_per_item=1e3 * sum(self.waits) / items,
            megabytes=self.nbytes / 1e6,
        )

    def _require_item(self, found: torch.Tensor, index: int) -> None:
        import torch

        expected = expected_item(self.kind, self.paths[index], index, self.seed)
        if not torch.equal(found, expected):
            raise WrongResultError(f"item {index} is not what its file holds")


class WorkersAndBatchSize(Benchmark):
    """Inside the clock: items through torch's DataLoader and a model; the workers start inside.

    Which workers and which batch size are best differs from architecture to architecture;
    ``bench-core regret`` says what one choice for all costs. Ideal: the operations at the matrix
    product's rate, while all loading hides behind them.
    """

    params = ((0, 2), (8, 16), ("resnet_tiny", "vit_tiny"), ("jpeg",), (32,))
    param_names = ("workers", "batch_size", "architecture", "kind", "items")
    quick = {"workers": (0, 2)}
    open_params = ("architecture", "kind")
    timeout = 1800

    @classmethod
    def check_param(cls, name: str, value: Param) -> None:
        """Raise where an experiment names an architecture or a kind that does not exist."""
        if name == "architecture":
            check_names(name, value)
        elif value not in KINDS:
            raise InputError(f"{value!r} is no kind of item; expected one of {', '.join(KINDS)}")

    def prepare(
        self, workers: int, batch_size: int, architecture: str, kind: str, items: int
    ) -> None:
        from bench_core.models import chain
        from benchmarks.support.chain_inputs import forward_chain

        taken = chain(architecture).input
        if taken.kind != "image":
            raise RefusedError(f"{architecture} takes no images")
        self.size = taken.shape[-1] or SIZE
        self.kind, self.run = kind, forward_chain
        self.paths = item_files(kind, items, self.seed, self.size)
        self.modules = chain_modules(self, architecture)
        self.flops = flops_of(architecture, self.size) * items
        self.run(self.modules, self._expected(0))
        self.phases = {"prepare_data": 0.0, "inference": 0.0}

    def time_end_to_end(
        self, workers: int, batch_size: int, architecture: str, kind: str, items: int
    ) -> Any:
        started = time.perf_counter()
        features = []
        for batch in torch_batches(Items(kind, self.paths, self.size), batch_size, workers):
            started = self._phase("prepare_data", started)
            features.append(self.run(self.modules, batch))
            started = self._phase("inference", started)
        return features

    def ideal_seconds(self, limits: Limits) -> float | None:
        return limits.seconds("matmul_flops", self.flops)

    def verify(self) -> None:
        import torch

        features = torch.cat(self.result)
        if len(features) != len(self.paths):
            raise WrongResultError(f"{len(features)} features of {len(self.paths)} items")
        for index in (0, len(features) - 1):
            alone = self.run(self.modules, self._expected(index))
            require_alike(features[index : index + 1], alone, f"the features of item {index}")
        self.note(phases=self.phases, milliseconds_per_item=self._milliseconds(len(features)))

    def _expected(self, index: int) -> torch.Tensor:
        return expected_item(self.kind, self.paths[index], index, self.seed, self.size)[None]

    def _phase(self, name: str, started: float) -> float:
        now = time.perf_counter()
        self.phases[name] += now - started
        return now

    def _milliseconds(self, items: int) -> float:
        return 1e3 * (self.timer.seconds or 0.0) / items


def _starter(
    loader: str, kind: str, paths: Sequence[Path], batch_size: int, workers: int
) -> Callable[[], Iterator[Any]]:
    """Return what starts a loader; what is not to be counted happens before it is called."""
    if loader == "torch":
        items = Items(kind, paths)
        return lambda: torch_batches(items, batch_size, workers)
    found = data_set(kind, paths)
    if loader == "library":
        from bench_core.data import batches

        starts = range(0, len(paths), batch_size)
        positions = [range(start, start + batch_size) for start in starts]
        return lambda: batches(found, positions, workers, start=START)
    fed = _decoded(found) if loader == "kept" else found
    return lambda: _fed(fed, batch_size)


def _fed(dataset: Dataset, batch_size: int) -> Iterator[Any]:
    """Return the batches as a search is fed with them."""
    import torch

    from bench_core.data import SearchData
    from bench_core.model_search.batches import cut
    from bench_core.model_search.inputs import InputFeeder
    from bench_core.model_search.meter import Meter

    feeder = InputFeeder(SearchData(dataset, dataset), torch.device("cpu"), Meter(), 0)
    return feeder.supply(cut("train", 0, len(dataset), batch_size))


def _decoded(dataset: Dataset) -> Dataset:
    """Return the same images, decoded in memory."""
    import torch

    from bench_core.data import Images

    decoded = dataset.decoded(range(len(dataset)))
    assert isinstance(decoded, torch.Tensor)
    return Images(dataset.name, decoded, dataset.labels, dataset.classes)
