"""A torch network that computes an architecture, and whose prefix can be frozen."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch
from torch import nn

from bench_core.models.skip_initialisation import SkipInitialisation
from bench_core.weight_transfer.errors import GraphError
from bench_core.weight_transfer.graphs import ArchitectureGraph
from bench_core.weight_transfer.layer_modules import initialise, layer_module


class Network(nn.Module):
    """The layers of an architecture as modules named by their positions.

    The state dict's names are those of ``graph.tensors()``. The tensors have their memory (none on
    ``meta``) but no values yet: fill them all, or begin with `materialise`.

    Raises:
        GraphError: a layer is of a kind that has no module.
    """

    def __init__(self, graph: ArchitectureGraph, device: str = "cpu") -> None:
        super().__init__()
        self.graph = graph
        self.frozen: frozenset[int] = frozenset()
        """The positions of the layers that are frozen."""
        with SkipInitialisation():
            for position, layer in enumerate(graph.layers):
                self.add_module(str(position), layer_module(layer, device))
        self._inputs = tuple(v for v, before in enumerate(graph.predecessors) if not before)
        self._outputs = tuple(v for v, after in enumerate(graph.successors) if not after)
        self._last_used = _last_used(graph)
        self._prefix: frozenset[int] = frozenset()
        """The positions of the layers that run without autograd."""

    def initialise(self, seed: int, positions: Iterable[int] | None = None) -> None:
        """Give first values to some layers, or all: each depends on seed and layer name only."""
        for position in range(len(self.graph)) if positions is None else positions:
            initialise(self.layer(position), self.graph.names[position], seed)

    def layer(self, position: int) -> nn.Module:
        """Return the module of the layer at a position.

        Raises:
            GraphError: there is no such position.
        """
        self.graph.layer(position)
        return self.get_submodule(str(position))

    def forward(
        self, inputs: torch.Tensor | tuple[torch.Tensor, ...]
    ) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Return the output of the layer that none follows, a tuple where there are several.

        Args:
            inputs: ``(batch, ...)`` for each layer without predecessors, in the layers' order.

        Raises:
            GraphError: another number of inputs than the architecture has.
        """
        values = self._placed(inputs)
        for position, before in enumerate(self.graph.predecessors):
            arguments = [values[other] for other in before] if before else [values[position]]
            with torch.no_grad() if position in self._prefix else contextlib.nullcontext():
                values[position] = self._modules[str(position)](*arguments)  # type: ignore[misc]
            for other in self._last_used[position]:
                del values[other]
        outputs = tuple(values[position] for position in self._outputs)
        return outputs[0] if len(outputs) == 1 else outputs

    def freeze(self, positions: Iterable[int]) -> None:
        """Freeze layers, beside those that are frozen already.

        Their parameters need no gradient; they stay in evaluation mode even when the network is
        set to training, so that running statistics do not move and dropout is off. The frozen
        prefix, the frozen layers with frozen layers only before them, runs without autograd and
        keeps no activations; inputs count as frozen for that. Optimisers must be made anew from
        `trainable_parameters`.

        Raises:
            GraphError: there is no such position.
        """
        chosen = frozenset(positions)
        for position in chosen:
            self.layer(position).requires_grad_(False)
        self._set_frozen(self.frozen | chosen)

    def unfreeze(self) -> None:
        """Make all layers trainable again, and set them to the network's mode."""
        self.requires_grad_(True)
        self._set_frozen(frozenset())

    def train(self, mode: bool = True) -> Network:
        """Set the layers that are not frozen to training, or all to evaluation."""
        super().train(mode)
        for position in self.frozen:
            self.layer(position).eval()
        return self

    def trainable_parameters(self) -> Iterator[nn.Parameter]:
        """Return the parameters that are not frozen."""
        return (parameter for parameter in self.parameters() if parameter.requires_grad)

    def _set_frozen(self, frozen: frozenset[int]) -> None:
        self.frozen = frozen
        self._prefix = _prefix(self.graph, frozen) if frozen else frozenset()
        self.train(self.training)

    def _placed(self, inputs: torch.Tensor | tuple[torch.Tensor, ...]) -> dict[int, torch.Tensor]:
        """Return the inputs by the positions of the layers that take them."""
        given = inputs if isinstance(inputs, tuple) else (inputs,)
        if len(given) != len(self._inputs):
            raise GraphError(
                f"{len(given)} inputs, expected {len(self._inputs)}: one for each layer without "
                "predecessors"
            )
        return dict(zip(self._inputs, given, strict=True))


def materialise(graph: ArchitectureGraph, device: str = "cpu", seed: int = 0) -> Network:
    """Return the network with first values; on ``meta`` without values and memory.

    A layer's values depend on the seed and its name: two networks of one seed agree in the layers
    that they have in common, whatever else they consist of.

    Raises:
        GraphError: a layer is of a kind that has no module.
    """
    network = Network(graph, device)
    if device != "meta":
        network.initialise(seed)
    return network


def _last_used(graph: ArchitectureGraph) -> tuple[tuple[int, ...], ...]:
    """Return for each layer those whose outputs none needs after it."""
    last: list[list[int]] = [[] for _ in graph.layers]
    for position, after in enumerate(graph.successors):
        if after:
            last[max(after)].append(position)
    return tuple(map(tuple, last))


def _prefix(graph: ArchitectureGraph, frozen: frozenset[int]) -> frozenset[int]:
    prefix: set[int] = set()
    for position, before in enumerate(graph.predecessors):
        is_input = graph.layers[position].spec.kind == "layer.input"
        if (is_input or position in frozen) and prefix.issuperset(before):
            prefix.add(position)
    return frozenset(prefix)
