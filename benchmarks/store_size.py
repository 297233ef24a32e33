"""How much room a set of models takes on the disk: by distinct block, or each model whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.support.model_sets import ModelSet, synthetic
from benchmarks.support.named_params import NamedParams
from harness.errors import WrongResultError

if TYPE_CHECKING:
    from bench_core.snapshots import BlockRef

WAYS: Final = ("store", "torch_models")
"""The store with its manifests; a file of torch for each whole model."""
_SECTOR: Final = 512


class StoreSize(NamedParams):
    """The bytes that a set takes on the disk, over those of its distinct blocks: 1 is the least.

    Counted are the sectors that the file system has given to the files, so that padding and blocks
    that are begun are in. The published implementation keeps three copies of every model: whole,
    and each block as tensors and as a pickled module. Not a time.
    """

    params = (WAYS, ("TOP_LAYERS",), ("mlp_tiny", "resnet_tiny"), (8,))
    param_names = ("way", "distribution", "architecture", "n_models")
    quick = {"way": WAYS}
    open_params = ("architecture", "distribution")
    unit = "ratio"
    timeout = 600

    models: ModelSet
    distinct: dict[str, BlockRef]
    paths: list[Path]

    def prepare(self, way: str, distribution: str, architecture: str, n_models: int) -> None:
        self.models = synthetic(architecture, distribution, n_models, 32, self.seed)
        store, names = self.models
        snapshots = [store.snapshot(name) for name in names]
        self.distinct = {ref.key: ref for snapshot in snapshots for ref in snapshot.blocks}
        if way == "store":
            self.paths = [store.block_path(ref) for ref in self.distinct.values()]
            self.paths += [store.manifests.path(name) for name in names]
        else:
            folder = store.folder / "whole"
            self.paths = [store.export(name, folder / f"{name}.pt") for name in names]

    def track_size(self, way: str, distribution: str, architecture: str, n_models: int) -> float:
        taken = sum(path.stat().st_blocks * _SECTOR for path in self.paths)
        return taken / sum(ref.nbytes for ref in self.distinct.values())

    def verify(self) -> None:
        """See that every distinct block can be had from what was counted."""
        store, names = self.models
        for ref in self.distinct.values():
            store.read_block(ref, verify=True)
        if self.result < 1:
            raise WrongResultError(f"{self.result:.3f} of the distinct bytes are on the disk")
        self.note(
            files=len(self.paths),
            models=len(names),
            distinct_blocks=len(self.distinct),
            distinct_bytes=sum(ref.nbytes for ref in self.distinct.values()),
        )
