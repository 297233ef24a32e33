"""Transfer through the layer store: any model may be the donor, and only what changed is stored."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import ClassVar

import torch

from bench_core.weight_transfer.graphs import ArchitectureGraph
from bench_core.weight_transfer.methods.base import Stored, TransferMethod, match_with_record
from bench_core.weight_transfer.prefix import Match
from bench_core.weight_transfer.puts import check_all
from bench_core.weight_transfer.store import LayerStore
from bench_core.weight_transfer.sweeping import sweep


class StoreMethod(TransferMethod):
    """The longest common prefix among all models of a `LayerStore` (Underwood et al., HPDC 2024).

    Example:
        >>> from bench_core.weight_transfer import layers, sequential
        >>> from bench_core.weight_transfer.network import materialise
        >>> from bench_core.weight_transfer.stores.memory import MemoryShard
        >>> graph = sequential([layers.dense((4,), 8), layers.dense((8,), 2)])
        >>> method = StoreMethod(LayerStore([MemoryShard()]))
        >>> method.store(1, graph, materialise(graph).state_dict()).bytes_physical
        232
        >>> with method.retained(sequential([layers.dense((4,), 8)])) as match:
        ...     match.positions
        (0,)
    """

    name: ClassVar[str] = "store"

    def __init__(self, layer_store: LayerStore) -> None:
        """Use a store; it is closed with the method."""
        self.layer_store = layer_store

    def best_match(
        self,
        graph: ArchitectureGraph,
        *,
        hint: int | None = None,
        exclude: Collection[int] = (),
    ) -> Match | None:
        """Ask the index; the hint is not looked at."""
        return self.layer_store.best_prefix(graph, exclude=exclude)

    def match_with(self, model: int, graph: ArchitectureGraph) -> Match | None:
        """Compare with one model's record."""
        store = self.layer_store
        return match_with_record(store.record(model), store.is_live(model), graph)

    def retain(self, model: int) -> str:
        """Pin the model."""
        return self.layer_store.pin(model)

    def release(self, model: int, pin: str) -> None:
        """Take the pin back."""
        self.layer_store.unpin(model, pin)

    def fetch(
        self, match: Match, graph: ArchitectureGraph, into: Mapping[str, torch.Tensor]
    ) -> None:
        """Read from the owners of the tensors, all at once."""
        self.layer_store.fetch(match, graph, into)

    def store(
        self,
        model: int,
        graph: ArchitectureGraph,
        tensors: Mapping[str, torch.Tensor],
        *,
        match: Match | None = None,
        accuracy: float | None = None,
    ) -> Stored:
        """Put what the model does not inherit."""
        check_all(model, graph, tensors)
        inherited = graph.tensor_ids(() if match is None else match.positions)
        own = {name: tensor for name, tensor in tensors.items() if name not in inherited}
        put = self.layer_store.put(model, graph, own, donor=match, accuracy=accuracy)
        return Stored(put.bytes_logical, put.bytes_physical, put.data_ns, put.meta_ns)

    def get(self, model: int) -> dict[str, torch.Tensor]:
        """Read the whole model."""
        return self.layer_store.get(model)

    def retire(self, model: int) -> int:
        """Take back its references."""
        return self.layer_store.retire(model)

    def models(self) -> list[int]:
        """Ask all shards."""
        return self.layer_store.models()

    def nbytes(self) -> int:
        """Ask all shards; each shared tensor counts once."""
        return self.layer_store.usage().nbytes

    def sweep(self) -> int:
        """Sweep all shards."""
        swept = sweep(self.layer_store)
        return swept.unpublished + swept.holds + swept.pins

    def close(self) -> None:
        """Close the store."""
        self.layer_store.close()
