"""How fast all that a set of models consists of comes from storage: by distinct block, or whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks.layer_loading import CACHES
from benchmarks.support.common import COLD, Tensors, require_equal, return_free_memory
from benchmarks.support.loaders import loader
from benchmarks.support.model_sets import ModelSet, synthetic
from benchmarks.support.named_params import NamedParams
from harness.errors import WrongResultError

if TYPE_CHECKING:
    from bench_core.snapshots import BlockRef
    from harness.limits import Limits

STORE: Final = {"store": "auto", "store_populate": "populate"}
"""Ways to read the store's files, each by a policy of `bench_core.layer_loading`."""

WAYS: Final = (*STORE, "torch_blocks", "torch_models")
"""The store's files; a file of torch for each distinct block; one for each whole model."""


class Stored(NamedTuple):
    """One way in which a set lies on the disk."""

    format: str
    paths: list[Path]


class BlockStoreLoad(NamedParams):
    """Inside the clock: all files of a set of models are read into fresh memory, one by one.

    ``store`` and ``torch_blocks`` read each distinct block once, in our own format and in torch's,
    ``store_populate`` in the way in which a search reads them; ``torch_models`` reads each model
    whole, as it is where nothing is shared. All tensors stay until the clock has stopped. What is
    mapped is read through. Ideal: the bytes of the distinct blocks, for every way: cold, at the
    probed bandwidth of reads into fresh memory; warm, read but not copied, in half the time of a
    copy.
    """

    params = (WAYS, ("TOP_LAYERS",), ("mlp_tiny", "resnet_tiny"), (8,), CACHES)
    param_names = ("way", "distribution", "architecture", "n_models", "cache")
    quick = {"way": WAYS}
    open_params = ("architecture", "cache", "distribution")
    timeout = 600

    models: ModelSet
    stored: Stored
    way: str
    cache: str

    def prepare(
        self, way: str, distribution: str, architecture: str, n_models: int, cache: str
    ) -> None:
        self.way, self.cache = way, cache
        self.models = synthetic(architecture, distribution, n_models, 32, self.seed)
        snapshots = [self.models.store.snapshot(name) for name in self.models.names]
        self.whole = [list(snapshot.blocks) for snapshot in snapshots]
        self.distinct = list({ref.key: ref for blocks in self.whole for ref in blocks}.values())
        self.stored = self._stored()
        self.loader = loader(self.stored.format)
        return_free_memory()

    def time_load(
        self, way: str, distribution: str, architecture: str, n_models: int, cache: str
    ) -> list[Tensors]:
        return [self.loader.load(path) for path in self.stored.paths]

    def files(self) -> Sequence[Path]:
        return self.stored.paths

    def ideal_seconds(self, limits: Limits) -> float | None:
        nbytes = sum(ref.nbytes for ref in self.distinct)
        if self.cache in COLD:
            return limits.seconds("read_into_fresh", nbytes)
        return limits.seconds("memcpy_all_threads", nbytes / 2)

    def verify(self) -> None:
        """Compare every tensor with what the store gives when it checks each block's digest."""
        found: list[Tensors] = self.result
        groups = self.whole if self.way == "torch_models" else [[ref] for ref in self.distinct]
        if len(found) != len(groups):
            raise WrongResultError(f"{len(found)} files were read, {len(groups)} expected")
        for tensors, refs in zip(found, groups, strict=True):
            require_equal(tensors, self._expected(refs))
        self.note(
            files=len(found),
            loaded_bytes=sum(tensor.nbytes for tensors in found for tensor in tensors.values()),
            distinct_bytes=sum(ref.nbytes for ref in self.distinct),
            bytes_on_disk=sum(path.stat().st_size for path in self.stored.paths),
        )

    def _expected(self, refs: list[BlockRef]) -> Tensors:
        blocks = [self.models.store.read_block(ref, verify=True) for ref in refs]
        if self.way != "torch_models":
            return blocks[0]
        return {
            f"{index}.{name}": tensor
            for index, block in enumerate(blocks)
            for name, tensor in block.items()
        }

    def _stored(self) -> Stored:
        """Return the files of this way, made where they are missing."""
        store = self.models.store
        if self.way in STORE:
            return Stored(STORE[self.way], [store.block_path(ref) for ref in self.distinct])
        if self.way == "torch_blocks":
            return Stored("torch", [self._torch_block(ref) for ref in self.distinct])
        folder = store.folder / "whole"
        return Stored(
            "torch", [store.export(name, folder / f"{name}.pt") for name in self.models.names]
        )

    def _torch_block(self, ref: BlockRef) -> Path:
        from bench_core import formats

        store = self.models.store
        path = store.folder / "torch_blocks" / store.block_path(ref).with_suffix(".pt").name
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            formats.get("torch").write(store.read_block(ref), path)
        return path
