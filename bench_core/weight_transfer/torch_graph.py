"""The architecture graph of any torch module that `torch.fx` can trace."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn
from torch.utils.flop_counter import FlopCounterMode

from bench_core.formats import TensorSpec
from bench_core.models.chains import BlockSpec, Setting
from bench_core.weight_transfer.errors import GraphError
from bench_core.weight_transfer.graphs import ArchitectureGraph, Layer
from bench_core.weight_transfer.torch_settings import (
    call_name,
    content_digest,
    module_settings,
    written,
)
from bench_core.weight_transfer.torch_tracing import is_leaf, live_nodes, traced

Example = torch.Tensor | tuple[torch.Tensor, ...]


def graph_of(module: nn.Module, example: Example | None = None) -> ArchitectureGraph:
    """Return a module's leaf modules, functions and inputs as layers.

    Modules of `torch.nn` that are no containers are layers with their parameters and persistent
    buffers; all others are expanded. Functions and methods are layers without tensors. A tensor
    belongs to the first layer that uses it: one that uses it again, such as a module called twice,
    says so in its settings and has the first among its predecessors. What no output depends on is
    no part of the graph. The first argument of `forward` is an input, and so are all
    others that have no default.

    Args:
        module: it is not changed.
        example: inputs with a batch dimension. With them the inputs' shapes are in the settings,
            and the layers have their FLOPs: those of matrix products and convolutions, counted on
            the meta device.

    Raises:
        GraphError: the module cannot be traced, or a setting has no stable description.
    """
    return _traced_graph(module, example).graph()


def tensor_names(module: nn.Module) -> dict[str, str]:
    """Return the module's own state dict names by the names that the graph's tensors have.

    The keys are those of ``graph_of(module).tensors()``. A shared tensor has one of its names.

    Raises:
        GraphError: as for `graph_of`.
    """
    return _traced_graph(module, None).names


@dataclass
class _GraphOfNodes:
    """Grows a layer for each node of a trace."""

    root: nn.Module
    state: Mapping[str, torch.Tensor]
    layers: list[Layer] = field(default_factory=list)
    predecessors: list[tuple[int, ...]] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    """``<position>.<name within the layer>`` to the state dict's name."""
    _place: dict[fx.Node, int] = field(default_factory=dict)
    _owner: dict[int, tuple[int, str]] = field(default_factory=dict)
    """Identity of a tensor to the layer that has it, and its name there."""

    def graph(self) -> ArchitectureGraph:
        return ArchitectureGraph(tuple(self.layers), tuple(self.predecessors))

    def add(self, node: fx.Node, flops: int, shape: tuple[int, ...] | None) -> None:
        """Add the layer of a node; ``shape`` is that of the value, of one item, if known."""
        before: list[int] = []
        settings: dict[str, Setting] = {}
        if node.op == "placeholder":
            if shape is not None:
                settings["out"] = shape
        elif node.op != "get_attr":
            settings["arguments"] = self._arguments(node, before)
        kind, more, tensors = self._description(node)
        settings.update(more)
        own, shared = self._claimed(tensors, before)
        if shared:
            settings["shared"] = shared
        self._place[node] = len(self.layers)
        self.predecessors.append(tuple(before))
        self.layers.append(Layer(BlockSpec(kind, tuple(sorted(settings.items()))), own, flops))

    def _arguments(self, node: fx.Node, before: list[int]) -> str:
        """Return the arguments with ``%k`` for the k-th predecessor, which is added to them."""

        def place(other: fx.Node) -> str:
            before.append(self._place[other])
            return f"%{len(before) - 1}"

        where = f"{node.op} {node.target}"
        positional = written(node.args, place, where)
        return f"{positional} {written(node.kwargs, place, where)}"

    def _description(self, node: fx.Node) -> tuple[str, dict[str, Setting], dict[str, str]]:
        """Return kind, settings, and the state dict's names by those within the layer."""
        target = str(node.target)
        if node.op == "placeholder":
            return "torch.input", {}, {}
        if node.op == "get_attr":
            if target in self.state:
                return "torch.tensor", {}, {"value": target}
            return "torch.constant", {"content": content_digest(self.root, target)}, {}
        if node.op == "call_module":
            leaf = self.root.get_submodule(target)
            names = {name: f"{target}.{name}" for name in leaf.state_dict(keep_vars=True)}
            return f"torch.{type(leaf).__name__}", module_settings(leaf, target), names
        return "torch.call", {"function": call_name(node)}, {}

    def _claimed(
        self, tensors: Mapping[str, str], before: list[int]
    ) -> tuple[tuple[tuple[str, TensorSpec], ...], str]:
        """Return the tensors that are the new layer's own, and which of others' it uses."""
        position = len(self.layers)
        own, shared = [], []
        for name, full in tensors.items():
            tensor = self.state[full]
            owner, there = self._owner.setdefault(id(tensor), (position, name))
            if (owner, there) == (position, name):
                own.append((name, TensorSpec.of(tensor)))
                self.names[f"{position}.{name}"] = full
            elif owner == position:
                shared.append(f"{name}={there}")
            else:
                if owner not in before:
                    before.append(owner)
                shared.append(f"{name}=%{before.index(owner)}.{there}")
        return tuple(own), ", ".join(shared)


def _traced_graph(module: nn.Module, example: Example | None) -> _GraphOfNodes:
    if is_leaf(module):
        found = _traced_graph(nn.Sequential(module), example)
        found.names = {name: full.removeprefix("0.") for name, full in found.names.items()}
        return found
    with traced(module) as graph:
        nodes = live_nodes(graph)
        measures = {} if example is None else _measured(module, graph, example)
        found = _GraphOfNodes(module, module.state_dict(keep_vars=True))
        for node in nodes:
            found.add(node, *measures.get(node.name, (0, None)))
    return found


class _Measuring(fx.Interpreter):
    """Runs a trace and notes for each node its FLOPs and its value's shape, without the batch."""

    def __init__(self, module: fx.GraphModule, batch: int) -> None:
        super().__init__(module)
        self.batch = batch
        self.found: dict[str, tuple[int, tuple[int, ...] | None]] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Return the node's value."""
        with FlopCounterMode(display=False) as counter:
            value = super().run_node(n)
        shape = tuple(value.shape[1:]) if isinstance(value, torch.Tensor) else None
        self.found[n.name] = (counter.get_total_flops() // self.batch, shape)
        return value


def _measured(
    module: nn.Module, graph: fx.Graph, example: Example
) -> dict[str, tuple[int, tuple[int, ...] | None]]:
    inputs = example if isinstance(example, tuple) else (example,)
    measuring = _Measuring(copy.deepcopy(fx.GraphModule(module, graph)).to("meta"), len(inputs[0]))
    try:
        with torch.no_grad():
            measuring.run(*(one.to("meta") for one in inputs))
    except (RuntimeError, TypeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise GraphError(
            f"{type(module).__name__} does not take the example ({reason}): give inputs that its "
            "forward accepts, with a batch dimension"
        ) from error
    return measuring.found
