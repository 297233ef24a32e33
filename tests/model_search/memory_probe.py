"""Run as a process: how much memory a search takes beyond one of few items, and what was planned.

Three models share a first block that makes 32 KiB of 32 bytes an item; 6,400 items go through it
as one batch.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path

import torch

from bench_core import data
from bench_core.data import SearchData
from bench_core.model_search import Settings, search
from bench_core.model_search.candidates import Candidates
from bench_core.model_search.estimate import estimate
from bench_core.model_search.rates import BlockRates
from bench_core.models.chains import family, initialised
from bench_core.models.chains.mlp import MlpConfiguration
from bench_core.snapshots import SnapshotStore

WIDTHS = (8192, 256, 32)
MODELS = ((0, 1, 1), (0, 2, 2), (0, 3, 3))
N_ITEMS = 6400


def store_of(folder: Path) -> SnapshotStore:
    store = SnapshotStore(folder)
    spec = family("mlp").chain(MlpConfiguration(8, WIDTHS), "mlp")
    for index, seeds in enumerate(MODELS):
        tensors = [initialised(block, seed) for block, seed in zip(spec.blocks, seeds, strict=True)]
        store.add(f"m{index}", spec, tensors)
    return store


def vectors(n_train: int) -> SearchData:
    return data.load("vectors", width=8, n_classes=3, n_train=n_train, n_test=12)


def status(name: str) -> int:
    """Return a line of the kernel's status of this process, in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)


def planned(store: SnapshotStore, items: SearchData, chosen: Settings) -> int:
    """Return what the estimate says: blocks, results and features."""
    candidates = Candidates.of(store.snapshots(), items)
    rates = BlockRates(chosen.batch_size, dict.fromkeys(candidates.blocks, 0.0), 1.0)
    found = estimate(candidates, len(items.train), len(items.test), chosen, rates)
    return found.peak_bytes + found.feature_bytes


def main() -> None:
    torch.set_num_threads(1)
    store, items = store_of(Path(sys.argv[2])), vectors(N_ITEMS)
    chosen = {"engine": sys.argv[1], "proxy": "ridge", "halve": False, "batch_size": N_ITEMS}
    search(store, vectors(64), **chosen)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the highest so far
    before = status("VmRSS")
    search(store, items, **chosen)
    grown = status("VmHWM") - before
    print(json.dumps({"grown": grown, "planned": planned(store, items, Settings.of(**chosen))}))


if __name__ == "__main__":
    main()
