"""Run as a process: how much memory a search takes beyond one of few items, and what was planned.

Arguments: the engine, a folder for the store, and what the models are made of. Three models of
equal size share their first blocks; all items go through them as few large batches.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench_core import data
from bench_core.data import SearchData
from bench_core.model_search import Settings, search
from bench_core.model_search.candidates import Candidates
from bench_core.model_search.expected_memory import expected_memory
from bench_core.model_search.expected_work import Sizes
from bench_core.models.chains import ChainSpec, family, initialised
from bench_core.models.chains.mlp import MlpConfiguration
from bench_core.snapshots import SnapshotStore


@dataclass(frozen=True)
class Case:
    """Models of one kind, and items for them."""

    chain: Callable[[], ChainSpec]
    n_shared: int
    """Blocks that all have in common."""
    items: Callable[[int], SearchData]
    n_items: int
    batch_size: int


def of_family(name: str, **configuration: Any) -> ChainSpec:
    owner = family(name)
    return owner.chain(owner.configuration(**configuration), name)


def vectors(n_train: int) -> SearchData:
    return data.load("vectors", width=8, n_classes=3, n_train=n_train, n_test=12)


def images(n_train: int) -> SearchData:
    return data.load("digits", size=64, num_train_items=n_train, num_test_items=12)


CASES = {
    # A first block that makes 32 KiB of 32 bytes an item; 6,400 items are one batch.
    "linear": Case(
        lambda: family("mlp").chain(MlpConfiguration(8, (8192, 256, 32)), "mlp"),
        1,
        vectors,
        6400,
        6400,
    ),
    "convolution": Case(
        lambda: of_family(
            "resnet",
            depths=[1, 1, 1, 1],
            layer_type="basic",
            embedding_size=64,
            hidden_sizes=[64, 128, 256, 512],
        ),
        2,
        images,
        256,
        128,
    ),
    "attention": Case(
        lambda: of_family(
            "vit",
            image_size=64,
            patch_size=8,
            hidden_size=192,
            num_hidden_layers=4,
            num_attention_heads=3,
            intermediate_size=768,
        ),
        2,
        images,
        512,
        256,
    ),
}


def store_of(folder: Path, case: Case) -> SnapshotStore:
    store, spec = SnapshotStore(folder), case.chain()
    for index in range(3):
        seeds = [0 if at < case.n_shared else index + 1 for at in range(len(spec.blocks))]
        tensors = [initialised(block, seed) for block, seed in zip(spec.blocks, seeds, strict=True)]
        store.add(f"m{index}", spec, tensors)
    return store


def status(name: str) -> int:
    """Return a line of the kernel's status of this process, in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)


def planned(store: SnapshotStore, items: SearchData, chosen: Settings) -> int:
    """Return what is planned: blocks, results, and the features of all models."""
    candidates = Candidates.of(store.snapshots(), items)
    sizes = Sizes(len(items.train), len(items.test), chosen.bytes_each())
    peak, _ = expected_memory(candidates, sizes, chosen, items.train.decoded_bytes)
    n_items = sizes.n_train + sizes.n_test
    return peak + 4 * n_items * sum(model.feature_dim for model in candidates.snapshots)


def main() -> None:
    torch.set_num_threads(1)
    case = CASES[sys.argv[3]]
    store, items = store_of(Path(sys.argv[2]), case), case.items(case.n_items)
    chosen: dict[str, Any] = {"engine": sys.argv[1], "proxy": "ridge", "halve": False}
    chosen["batch_size"] = case.batch_size
    search(store, case.items(64), **chosen)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the highest so far
    before = status("VmRSS")
    search(store, items, **chosen)
    grown = status("VmHWM") - before
    print(json.dumps({"grown": grown, "planned": planned(store, items, Settings.of(**chosen))}))


if __name__ == "__main__":
    main()
