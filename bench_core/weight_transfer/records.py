"""What a store knows of a model: its architecture, its tensors' owners, where it comes from."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench_core.errors import CorruptFileError
from bench_core.weight_transfer.errors import StoreError
from bench_core.weight_transfer.graphs import ArchitectureGraph, TensorId

LARGEST_ID = (1 << 63) - 1


@dataclass(frozen=True)
class ModelRecord:
    """A model's metadata, its owner map among it. Never changes once it is published.

    The owner map names for each tensor the model whose bytes they are: the model itself, or the
    one it has the tensor from, however long ago. So reading a model takes a request for each of
    its owners and no walk along its ancestors (Underwood et al., "EvoStore", HPDC 2024).
    """

    id: int
    graph: ArchitectureGraph
    owners: tuple[int, ...]
    """For each tensor of ``graph.tensors()`` in its order the id of the model that owns it."""
    accuracy: float | None = None
    parent: int | None = None
    """The donor that it was made from."""
    created_ns: int = 0
    """Since 1970; later than its parent's."""
    token: str = ""
    """Of the put that stored it: names its bytes and what it holds, and tells who wrote it."""
    info: Mapping[str, Any] = field(default_factory=dict)
    """Whatever its maker adds, as JSON."""

    def __post_init__(self) -> None:
        if not 0 <= self.id <= LARGEST_ID:
            raise StoreError(f"model id {self.id}, expected 0 to {LARGEST_ID}")
        if len(self.owners) != len(self.tensor_ids):
            raise StoreError(
                f"model {self.id}: {len(self.owners)} owners of {len(self.tensor_ids)} tensors, "
                "expected one for each"
            )

    @functools.cached_property
    def tensor_ids(self) -> dict[str, TensorId]:
        """The ids of its tensors by their names in the state dict."""
        return self.graph.tensor_ids()

    @functools.cached_property
    def owner_map(self) -> dict[TensorId, int]:
        """The owner of each tensor."""
        return dict(zip(self.tensor_ids.values(), self.owners, strict=True))

    @functools.cached_property
    def by_owner(self) -> dict[int, tuple[TensorId, ...]]:
        """The tensors that each owner owns, in order."""
        found: dict[int, list[TensorId]] = {}
        for tensor, owner in self.owner_map.items():
            found.setdefault(owner, []).append(tensor)
        return {owner: tuple(tensors) for owner, tensors in found.items()}

    @property
    def sizes(self) -> dict[TensorId, int]:
        """Bytes of each of its tensors, inherited or not."""
        specs = self.graph.tensors()
        return {key: specs[name].nbytes for name, key in self.tensor_ids.items()}

    @property
    def own_nbytes(self) -> int:
        """Bytes of the tensors that it owns itself."""
        specs = self.graph.tensors().values()
        return sum(
            s.nbytes for s, owner in zip(specs, self.owners, strict=True) if owner == self.id
        )

    def encode(self) -> bytes:
        """Return what `decode` reads."""
        content = {
            "id": self.id,
            "graph": self.graph.as_json(),
            "owners": self.owners,
            "accuracy": self.accuracy,
            "parent": self.parent,
            "created_ns": self.created_ns,
            "token": self.token,
            "info": dict(self.info),
        }
        return json.dumps(content, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, data: bytes) -> ModelRecord:
        """Return the record that was encoded.

        Raises:
            CorruptFileError: something else stands there.
        """
        try:
            content = json.loads(data)
            graph = ArchitectureGraph.from_json(content.pop("graph"))
            return cls(graph=graph, owners=tuple(content.pop("owners")), **content)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CorruptFileError(f"no record of a model ({error}): {data[:80]!r}") from error
