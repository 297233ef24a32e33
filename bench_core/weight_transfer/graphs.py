"""Architectures as graphs of layers, and the names of layers that say all that lies before them."""

from __future__ import annotations

import functools
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench_core.errors import CorruptFileError
from bench_core.formats import TensorSpec
from bench_core.formats.dtypes import DTYPES, dtype_name
from bench_core.models.chains import BlockSpec
from bench_core.weight_transfer.errors import GraphError

NAME_BYTES: Final = 16
"""blake2b's digest size here: no two of 2^50 layers are expected to meet."""

Name = bytes
"""Of a layer: 16 bytes. Equal names are equal layers with equal layers all the way before them."""
TensorId = bytes
"""Of one tensor of a layer: 16 bytes over the layer's name and the tensor's name within it."""


@dataclass(frozen=True)
class Layer:
    """One vertex: what it computes, which tensors it has, what it costs."""

    spec: BlockSpec
    """Kind and settings, the shapes of input and output among them. No name, no device, and not
    whether it is trained: a frozen layer is the same layer."""
    tensors: tuple[tuple[str, TensorSpec], ...] = ()
    """Parameters and buffers by their names within the layer, in the state dict's order."""
    flops: int = 0
    """Of a forward pass over one item."""

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors."""
        return sum(spec.nbytes for _, spec in self.tensors)

    @functools.cached_property
    def digest(self) -> bytes:
        """16 bytes over kind, settings, and the names, types and shapes of its tensors."""
        whole = hashlib.blake2b(self.spec.digest, digest_size=NAME_BYTES)
        for name, spec in self.tensors:
            whole.update(f"\n{name} {dtype_name(spec.dtype)} {list(spec.shape)}".encode())
        return whole.digest()


@dataclass(frozen=True)
class ArchitectureGraph:
    """Layers in an order in which each comes after those whose output it takes.

    Layers without predecessors are the inputs; a virtual root joins them, so there may be several.

    Raises:
        GraphError: a layer takes the output of one that does not come before it.

    Example:
        >>> from bench_core.models.chains import BlockSpec
        >>> dense = Layer(BlockSpec.of("dense", inputs=8, units=8))
        >>> head = Layer(BlockSpec.of("dense", inputs=8, units=2))
        >>> one, other = sequential([dense, dense, head]), sequential([dense, dense, dense])
        >>> [a == b for a, b in zip(one.names, other.names)]
        [True, True, False]
    """

    layers: tuple[Layer, ...]
    predecessors: tuple[tuple[int, ...], ...]
    """For each layer the positions whose outputs it takes, in the order in which it takes them."""

    def __post_init__(self) -> None:
        if len(self.layers) != len(self.predecessors):
            raise GraphError(
                f"{len(self.layers)} layers and the predecessors of {len(self.predecessors)}, "
                "expected as many"
            )
        for position, before in enumerate(self.predecessors):
            for other in before:
                if not 0 <= other < position:
                    raise GraphError(
                        f"layer {position} takes the output of layer {other}, expected one of "
                        "those before it: give the layers in topological order"
                    )

    def __len__(self) -> int:
        """Return the number of layers."""
        return len(self.layers)

    @functools.cached_property
    def twins(self) -> tuple[int, ...]:
        """For each layer how many equal ones with the same predecessors come before it.

        Two towers of the same layers over one input are different weights: the second layer is
        twin 1 of the first, and what follows each of them is told apart by that.
        """
        seen: Counter[tuple[bytes, tuple[int, ...]]] = Counter()
        twins = []
        for layer, before in zip(self.layers, self.predecessors, strict=True):
            twins.append(seen[layer.digest, before])
            seen[layer.digest, before] += 1
        return tuple(twins)

    @functools.cached_property
    def names(self) -> tuple[Name, ...]:
        """Merkle digests: over a layer, its predecessors' names in order, and its twin number.

        The same in every process, for every hash seed and version. After the layer names of
        Madhyastha et al., "DStore", ICS 2023, which hash with SHA3-512.
        """
        names: list[bytes] = []
        for layer, before, twin in zip(self.layers, self.predecessors, self.twins, strict=True):
            parts = (layer.digest, *(names[other] for other in before), twin.to_bytes(4, "little"))
            names.append(hashlib.blake2b(b"".join(parts), digest_size=NAME_BYTES).digest())
        return tuple(names)

    @functools.cached_property
    def position(self) -> Mapping[Name, int]:
        """The position of each name. Names of one graph differ, thanks to the twin numbers."""
        return {name: position for position, name in enumerate(self.names)}

    @functools.cached_property
    def cones(self) -> tuple[int, ...]:
        """For each layer, as the bits of an integer, itself and all that lies before it."""
        cones: list[int] = []
        for position, before in enumerate(self.predecessors):
            cone = 1 << position
            for other in before:
                cone |= cones[other]
            cones.append(cone)
        return tuple(cones)

    @functools.cached_property
    def successors(self) -> tuple[tuple[int, ...], ...]:
        """For each layer the positions that take its output, each once."""
        found: list[list[int]] = [[] for _ in self.layers]
        for position, before in enumerate(self.predecessors):
            for other in dict.fromkeys(before):
                found[other].append(position)
        return tuple(map(tuple, found))

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(layer.nbytes for layer in self.layers)

    def tensors(self) -> dict[str, TensorSpec]:
        """Return the tensors by ``<position>.<name within the layer>``, the state dict's names."""
        return {
            f"{position}.{name}": spec
            for position, layer in enumerate(self.layers)
            for name, spec in layer.tensors
        }

    def tensor_ids(self, positions: Iterable[int] | None = None) -> dict[str, TensorId]:
        """Return the ids of the tensors of some layers, or all, by their state dict's names.

        Raises:
            GraphError: there is no such position.
        """
        if positions is None:
            return dict(self._tensor_ids)
        return {
            name: self._tensor_ids[name]
            for position in positions
            for name in (f"{position}.{tensor}" for tensor, _ in self.layer(position).tensors)
        }

    def layer(self, position: int) -> Layer:
        """Return the layer at a position.

        Raises:
            GraphError: there is no such position.
        """
        if not 0 <= position < len(self.layers):
            raise GraphError(f"no layer {position}, expected 0 to {len(self.layers) - 1}")
        return self.layers[position]

    @functools.cached_property
    def _tensor_ids(self) -> Mapping[str, TensorId]:
        return {
            f"{position}.{tensor}": tensor_id(self.names[position], tensor)
            for position, layer in enumerate(self.layers)
            for tensor, _ in layer.tensors
        }

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {
            "layers": [_layer_as_json(layer) for layer in self.layers],
            "predecessors": [list(before) for before in self.predecessors],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> ArchitectureGraph:
        """Return the graph that `as_json` described.

        Raises:
            CorruptFileError: something else stands there.
        """
        try:
            layers = tuple(_layer_from_json(layer) for layer in content["layers"])
            before = tuple(tuple(map(int, one)) for one in content["predecessors"])
            return cls(layers, before)
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptFileError(
                f"no description of an architecture ({error}): {str(content)[:80]}"
            ) from error


def sequential(layers: Sequence[Layer]) -> ArchitectureGraph:
    """Return the graph in which each layer takes the output of the one before it."""
    before = tuple((position - 1,) if position else () for position in range(len(layers)))
    return ArchitectureGraph(tuple(layers), before)


def tensor_id(layer: Name, tensor: str) -> TensorId:
    """Return the id of a layer's tensor: ids of different tensors never meet or overlap."""
    return hashlib.blake2b(layer + tensor.encode(), digest_size=NAME_BYTES).digest()


def split_names(joined: bytes) -> tuple[bytes, ...]:
    """Return the names, or ids of tensors, that were joined without anything between them."""
    return tuple([joined[i : i + NAME_BYTES] for i in range(0, len(joined), NAME_BYTES)])


def _layer_as_json(layer: Layer) -> dict[str, Any]:
    tensors = [[name, dtype_name(spec.dtype), list(spec.shape)] for name, spec in layer.tensors]
    return {**layer.spec.as_json(), "tensors": tensors, "flops": layer.flops}


def _layer_from_json(content: Mapping[str, Any]) -> Layer:
    tensors = tuple(
        (str(name), TensorSpec(tuple(map(int, shape)), DTYPES[dtype]))
        for name, dtype, shape in content["tensors"]
    )
    return Layer(BlockSpec.from_json(content), tensors, int(content["flops"]))
