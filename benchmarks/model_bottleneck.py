"""Where the time goes when one single model is scored: model, data, inference, proxy."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.support.common import process_folder
from harness.benchmark import Benchmark, data_dir
from harness.errors import WrongResultError

if TYPE_CHECKING:
    import torch

    from bench_core.data import Dataset, Inputs

START = "fork" if "fork" in multiprocessing.get_all_start_methods() else None
"""How processes that read are started: spawned ones would import torch anew."""
SPLITS = ("none", "last_1", "last_3", "last_25_percent", "last_50_percent", "last_75_percent")


class ScoreOneModel(Benchmark):
    """Inside the clock: the model's blocks from the store, its inputs, forward passes, linear head.

    ``split`` says which blocks run: all, on images that are decoded inside the clock, or the last
    ones, on what the blocks before them gave, which lies on the disk, a file a batch. Half of the
    items are to learn from, half to be scored on. ``num_workers`` processes decode or read; their
    start is in the clock. The phases are in the record's extra.
    """

    params = (("resnet_tiny", "vit_tiny"), SPLITS, (64, 96), (32,), (0,))
    param_names = ("architecture", "split", "items", "batch_size", "num_workers")
    quick = {"architecture": ("resnet_tiny", "vit_tiny"), "split": ("none", "last_3")}
    open_params = ("architecture",)
    timeout = 3600

    def prepare(
        self, architecture: str, split: str, items: int, batch_size: int, num_workers: int
    ) -> None:
        from bench_core.models.chains import skeleton
        from bench_core.snapshots import SnapshotStore, synthetic_set

        store = SnapshotStore(data_dir() / "single_models" / architecture)
        (self.snapshot,) = synthetic_set(store, architecture, "TOP_LAYERS", 1, seed=self.seed)
        self.store, self.items = store, items
        self.batch_size, self.num_workers = batch_size, num_workers
        self.first = first_block(len(self.snapshot.blocks), split)
        self.data = self.cached(
            ("items", architecture, items), lambda: _items(self.snapshot.input, items)
        )
        key = ("prepared", architecture, items, batch_size, self.first, self.seed)
        self.inputs_on_disk = (
            self.cached(key, lambda: self._prepared(architecture)) if self.first else []
        )
        self.phases: dict[str, float] = {}
        for block in self.snapshot.blocks:
            skeleton(block.spec)  # imports the library that builds it, which is not to be timed

    def time_score(
        self, architecture: str, split: str, items: int, batch_size: int, num_workers: int
    ) -> Any:
        started = time.perf_counter()
        modules = self._load(self.first, None)
        started = self._phase("prepare_model", started)
        features = []
        for given in self._inputs():
            started = self._phase("prepare_data", started)
            features.append(_run(modules, given))
            started = self._phase("inference", started)
        score = self._score(features)
        self._phase("proxy_score", started)
        return features, score

    def verify(self) -> None:
        import torch

        features = torch.cat(self.result[0])
        whole = self._load(0, None)
        first = self.data.batch(range(min(self.batch_size, self.items)))
        if not torch.equal(_run(whole, first), features[: self.batch_size]):
            raise WrongResultError("the features are not those of the whole model")
        self.note(phases=self.phases, accuracy=self.result[1])

    def _load(self, start: int, stop: int | None) -> list[torch.nn.Module]:
        import torch

        from bench_core.model_search.loading import BlockLoader
        from bench_core.model_search.meter import Meter

        loader = BlockLoader(self.store, torch.device("cpu"), Meter())
        return [loader.load(block) for block in self.snapshot.blocks[start:stop]]

    def _inputs(self) -> Iterator[Inputs]:
        from bench_core.data import batches

        if not self.first:
            return batches(self.data, self._borders(), self.num_workers, start=START)
        return files_read(self.inputs_on_disk, self.num_workers)

    def _borders(self) -> list[range]:
        starts = range(0, self.items, self.batch_size)
        return [range(start, min(start + self.batch_size, self.items)) for start in starts]

    def _prepared(self, architecture: str) -> list[Path]:
        """Write what the blocks before the split give, a file a batch."""
        import torch

        before = self._load(0, self.first)
        files = []
        for index, items in enumerate(self._borders()):
            name = f"{architecture}-{self.items}-{self.batch_size}-{self.first}-{index}.pt"
            files.append(process_folder() / name)
            torch.save(_run(before, self.data.batch(items), whole=True), files[-1])
        return files

    def _score(self, features: list[torch.Tensor]) -> float:
        import torch

        from bench_core.model_search.proxies import Features, Task, get

        stacked, labels = torch.cat(features), torch.from_numpy(self.data.labels)
        half = len(labels) // 2
        size = self.batch_size
        sizes = [min(size, half - start) for start in range(0, half, size)]
        task = Task(labels[:half], labels[half:], len(self.data.classes), tuple(sizes), (half,))
        (score,) = get("linear").score([Features(stacked[:half], stacked[half:])], task, self.seed)
        return float(score.value)

    def _phase(self, name: str, started: float) -> float:
        now = time.perf_counter()
        self.phases[name] = self.phases.get(name, 0.0) + now - started
        return now


def first_block(n_blocks: int, split: str) -> int:
    """Return the first block that runs."""
    if split == "none":
        return 0
    count = split.split("_")[1]
    last = round(n_blocks * int(count) / 100) if split.endswith("_percent") else int(count)
    return max(0, n_blocks - max(last, 1))


def _items(taken: Any, count: int) -> Dataset:
    """Return so many items for a model, the embedded ones again and again."""
    import numpy as np

    from bench_core import data

    if taken.kind == "tokens":
        source = data.load("docstrings").train
    elif taken.kind == "vector":
        source = data.load("digit_vectors").train
    else:
        size = taken.shape[1] or (224 if count > 64 else 32)
        source = data.load("digits", size=size).train
    return source.select(np.arange(count) % len(source))


def files_read(files: Sequence[Path], workers: int) -> Iterator[Inputs]:
    """Return an iterator over what lies in files of torch, read in line or by so many processes."""
    from torch.utils.data import DataLoader

    if not workers:
        return map(_read, files)
    loader: Any = DataLoader(
        files,  # type: ignore[arg-type]
        batch_size=None,
        num_workers=workers,
        collate_fn=_read,  # the part that runs in the workers
        multiprocessing_context=START,
    )
    return iter(loader)


def _read(file: Any) -> Inputs:
    import torch

    given: Inputs = torch.load(file, weights_only=True)
    return given


def _run(modules: list[torch.nn.Module], given: Any, *, whole: bool = False) -> Any:
    """Return the features of a batch; all of a block's output, if ``whole``."""
    import torch

    from bench_core.models.chains import run_blocks, run_chain

    with torch.inference_mode():
        return run_blocks(modules, given) if whole else run_chain(modules, given)
