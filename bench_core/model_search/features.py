"""The features of the models that are still in the search, by chain and batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import torch

from bench_core.model_search.batches import Batch
from bench_core.model_search.journal import Journal
from bench_core.model_search.meter import Meter


class FeatureStore(Protocol):
    """Where an engine puts the features of a model and a batch, and the proxy finds them."""

    def has(self, chain: str, batch: Batch) -> bool:
        """Whether these features are there."""

    def put(self, found: Sequence[tuple[str, Batch, torch.Tensor]]) -> None:
        """Keep features of shape (items, dim) on the CPU, for each chain and batch."""

    def gather(self, chain: str, batches: Iterable[Batch]) -> torch.Tensor:
        """Return the features of these batches, one after the other."""

    def keep_only(self, chains: Iterable[str]) -> None:
        """Forget the features of all other chains."""


class MemoryFeatures:
    """Features in memory, and in a journal where there is one."""

    def __init__(self, journal: Journal | None, meter: Meter) -> None:
        self._kept: dict[str, dict[Batch, torch.Tensor]] = {}
        self._journal, self._meter = journal, meter

    def has(self, chain: str, batch: Batch) -> bool:
        """Whether these features are there; those of the journal are taken up."""
        if batch in self._kept.get(chain, ()):
            return True
        found = self._journal.get(chain, batch) if self._journal else None
        if found is None:
            return False
        self._meter.count("batches_resumed")
        self._kept.setdefault(chain, {})[batch] = found
        return True

    def put(self, found: Sequence[tuple[str, Batch, torch.Tensor]]) -> None:
        """Keep features, in the journal first."""
        if self._journal:
            self._journal.put(found)
        for chain, batch, features in found:
            self._kept.setdefault(chain, {})[batch] = features

    def gather(self, chain: str, batches: Iterable[Batch]) -> torch.Tensor:
        """Return the features of these batches, one after the other."""
        kept = self._kept[chain]
        return torch.cat([kept[batch] for batch in batches])

    def keep_only(self, chains: Iterable[str]) -> None:
        """Forget the features of all other chains."""
        wanted = set(chains)
        self._kept = {chain: kept for chain, kept in self._kept.items() if chain in wanted}


class DiskFeatures:
    """Features in a file each, written and read by `torch.save` and `torch.load`, as published.

    For Base and SHiFT, whose features go to the SSD (spec of the paper's experiments, section 5).
    """

    def __init__(self, folder: Path, meter: Meter) -> None:
        self._folder, self._meter = folder, meter
        self._files: dict[str, dict[Batch, Path]] = {}

    def has(self, chain: str, batch: Batch) -> bool:
        """Whether these features are there."""
        return batch in self._files.get(chain, ())

    def put(self, found: Sequence[tuple[str, Batch, torch.Tensor]]) -> None:
        """Write each to its file."""
        for chain, batch, features in found:
            name = f"{chain}-{batch.split}-{batch.start}-{batch.stop}.pt"
            torch.save(features, self._folder / name)
            self._files.setdefault(chain, {})[batch] = self._folder / name
            self._meter.count("feature_bytes_written", features.nbytes)

    def gather(self, chain: str, batches: Iterable[Batch]) -> torch.Tensor:
        """Read the features of these batches, one after the other."""
        files = self._files[chain]
        read = [torch.load(files[batch], weights_only=True) for batch in batches]
        self._meter.count("feature_bytes_read", sum(features.nbytes for features in read))
        return torch.cat(read)

    def keep_only(self, chains: Iterable[str]) -> None:
        """Remove the files of all other chains."""
        wanted = set(chains)
        for chain in self._files.keys() - wanted:
            for path in self._files.pop(chain).values():
                path.unlink(missing_ok=True)
