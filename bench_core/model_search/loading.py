"""Blocks from the store as modules on the device, and what their reading took."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from bench_core.errors import BenchCoreError, CorruptFileError
from bench_core.layer_loading import load_timed
from bench_core.model_search.copy_stream import CopyStream, copy_stream
from bench_core.model_search.meter import Meter
from bench_core.model_search.read_tiers import Tiers
from bench_core.models.chains import BlockSpec, Skeletons, block_module
from bench_core.snapshots import BlockRef, SnapshotStore
from bench_core.snapshots.blocks import BlockDamage, as_damage, check_bits, check_header


class UnusableBlockError(CorruptFileError):
    """A block of the store is missing or damaged: its ``key`` says which."""

    def __init__(self, text: str, key: str) -> None:
        super().__init__(text)
        self.key = key

    def __reduce__(self) -> tuple[type[UnusableBlockError], tuple[str, str]]:
        """Keep the key on the way from another process."""
        return type(self), (str(self), self.key)


@dataclass(frozen=True)
class BlockLoader:
    """Reads blocks of one store."""

    store: SnapshotStore
    device: torch.device
    meter: Meter
    verify: bool = True
    """Whether every bit is checked as it is read: by the checksum in the file, some GB/s."""
    policy: str = "populate"
    """How files are read: see `bench_core.layer_loading.load`. Not one whose tensors are read when
    they are touched: computing would wait for the disk."""
    build: Callable[[BlockSpec, Mapping[str, torch.Tensor]], nn.Module] = block_module
    """Makes a module of a block's tensors: anew each time, as unpickling one does."""
    copies: CopyStream = field(default_factory=CopyStream)

    def tuned(self) -> BlockLoader:
        """Return a loader that builds each kind of block once, and reads beside the computation.

        To be asked for by the thread that computes; its blocks are loaded by one thread at a time.
        """
        return replace(self, build=Skeletons().block_module, copies=copy_stream(self.device))

    def load(self, ref: BlockRef) -> nn.Module:
        """Read a block; every byte has come when this returns.

        Raises:
            UnusableBlockError: the block is damaged or missing, or its file holds another one; it
                is named.
        """
        path, tiers = self.store.block_path(ref), Tiers(self.meter)
        try:
            with as_damage(path), tiers.watching(), self.copies.copying():
                tensors, result = load_timed(path, device=self.device, policy=self.policy)
                check_header(result.metadata, result.bytes_requested, ref)
                if self.verify:
                    check_bits(tensors, result.metadata, ref)
            self.copies.hand_over(tensors.values())
            module = self.build(ref.spec, tensors)
        except (BenchCoreError, BlockDamage) as error:
            raise UnusableBlockError(
                f"{path}: block {ref.spec.kind} {ref.key[-8:]} cannot be used, "
                f"{' '.join(str(error).split())}; "
                "`bench-core snapshots verify` lists the models that have it",
                ref.key,
            ) from error
        tiers.count(result.bytes_requested)
        self.meter.count("block_loads")
        if self.device.type != "cpu":
            self.meter.count("bytes_to_device", result.bytes_requested)
        return module
