"""Graphs of torch modules: layers, order, sharing; the same names for equal modules everywhere."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import nn

from bench_core.formats import TensorSpec
from bench_core.weight_transfer.errors import GraphError
from bench_core.weight_transfer.graphs import ArchitectureGraph
from bench_core.weight_transfer.torch_graph import graph_of, tensor_names


class Residual(nn.Module):
    """Two branches, concatenated in one order or the other, then a ReLU and a flatten."""

    def __init__(self, swapped: bool = False) -> None:
        super().__init__()
        self.left = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.right = nn.Conv2d(3, 4, 1)
        self.head = nn.Linear(8 * 16, 2)
        self.swapped = swapped

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = self.left(x) + self.right(x), self.right(x)
        both = [right, left] if self.swapped else [left, right]
        return self.head(torch.relu(torch.cat(both, dim=1)).flatten(1))


class Block(nn.Module):
    """A basic block of a ResNet: two convolutions and a shortcut, projected where it must be."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.shortcut: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        residual = self.relu(self.bn1(self.conv1(x)))
        residual = self.bn2(self.conv2(residual))
        return self.relu(residual + (x if self.shortcut is None else self.shortcut(x)))


def resnet(*widths: int) -> nn.Sequential:
    """A small ResNet: a block for each width, halving the image where the width changes."""
    pairs = zip((widths[0], *widths), widths, strict=False)
    blocks = [Block(inputs, outputs, 1 + (inputs != outputs)) for inputs, outputs in pairs]
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 10))
    return nn.Sequential(nn.Conv2d(3, widths[0], 3, padding=1), *blocks, *head)


class Tied(nn.Module):
    """One linear layer called twice, and one that shares its weight only."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.other = nn.Linear(4, 4)
        self.other.weight = self.first.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.other(self.first(torch.relu(self.first(x))))


class Untied(Tied):
    """The same with three layers of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.Linear(4, 4)
        self.other = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.other(self.second(torch.relu(self.first(x))))


class Branching(nn.Module):
    """Control flow that depends on the data."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


class Scaled(nn.Module):
    """A parameter, a constant and an optional argument."""

    def __init__(self, constant: float = 2.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))
        self.constant = constant

    def forward(self, x: torch.Tensor, negate: bool = False) -> torch.Tensor:
        scaled = x * self.scale + torch.full((4,), self.constant)
        return -scaled if negate else scaled


def mlp(width: int = 8, rate: float = 0.1) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(4, width), nn.ReLU(), nn.Dropout(rate), nn.Linear(width, 6), nn.Linear(6, 2)
    )


def kinds(graph: ArchitectureGraph) -> list[str]:
    return [layer.spec.kind for layer in graph.layers]


def common(one: ArchitectureGraph, other: ArchitectureGraph) -> list[bool]:
    return [name in other.position for name in one.names]


def test_a_sequential_is_a_chain_of_its_modules() -> None:
    graph = graph_of(mlp())

    assert kinds(graph) == [
        "torch.input",
        "torch.Linear",
        "torch.ReLU",
        "torch.Dropout",
        "torch.Linear",
        "torch.Linear",
    ]
    assert graph.predecessors == ((), (0,), (1,), (2,), (3,), (4,))
    assert ArchitectureGraph.from_json(graph.as_json()) == graph


@pytest.mark.parametrize(
    "make",
    [mlp, Residual, Scaled, lambda: resnet(4, 8), lambda: nn.Linear(3, 2), lambda: nn.LSTM(3, 2)],
)
def test_every_tensor_is_found_under_its_own_name(make: Callable[[], nn.Module]) -> None:
    module = make()
    names, tensors, state = tensor_names(module), graph_of(module).tensors(), module.state_dict()

    assert names.keys() == tensors.keys()
    assert set(names.values()) == state.keys()
    assert all(TensorSpec.of(state[names[key]]) == spec for key, spec in tensors.items())


def test_resnets_share_the_blocks_before_the_first_difference() -> None:
    one, other = graph_of(resnet(8, 16, 16)), graph_of(resnet(8, 16, 32))

    shared = common(one, other)
    stem, identity_block, projected_block = 2, 7, 8
    assert shared == sorted(shared, reverse=True)
    assert sum(shared) == stem + identity_block + projected_block
    sums = [before for before in one.predecessors if len(before) == 2]
    assert len(sums) == 3


def test_a_module_called_twice_without_tensors_is_two_layers() -> None:
    relus = [layer for layer in graph_of(resnet(8)).layers if layer.spec.kind == "torch.ReLU"]

    assert len(relus) == 2
    assert relus[0] == relus[1]


def test_buffers_belong_to_the_layer() -> None:
    names = tensor_names(Residual())

    assert {"left.1.running_mean", "left.1.num_batches_tracked"} <= set(names.values())


def test_names_of_independent_instances_and_processes_are_equal() -> None:
    script = (
        "from torch import nn; from bench_core.weight_transfer.torch_graph import graph_of\n"
        "m = nn.Sequential(nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4), nn.Flatten(), nn.Linear(8, 2))\n"
        "print([name.hex() for name in graph_of(m).names])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    module = nn.Sequential(nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4), nn.Flatten(), nn.Linear(8, 2))

    assert outputs == {f"{[name.hex() for name in graph_of(module).names]}\n"}
    assert graph_of(Residual()).names == graph_of(Residual()).names


def test_a_changed_hyperparameter_changes_the_names_from_there_on() -> None:
    assert common(graph_of(mlp()), graph_of(mlp(rate=0.2))) == [True] * 3 + [False] * 3
    assert common(graph_of(mlp()), graph_of(mlp(width=9))) == [True] + [False] * 5


def test_the_state_of_training_changes_no_name() -> None:
    names = graph_of(Residual()).names

    assert graph_of(Residual().eval()).names == names
    assert graph_of(Residual().requires_grad_(False)).names == names
    assert graph_of(Residual().to("meta")).names == names


def test_the_order_of_a_concatenation_counts() -> None:
    one, other = graph_of(Residual()), graph_of(Residual(swapped=True))

    at = next(v for v, layer in enumerate(one.layers) if "'cat'" in str(layer.spec.settings))
    assert common(one, other) == [v < at for v in range(len(one))]
    assert 0 < at < len(one) - 1


def test_a_function_says_its_settings_and_a_method_of_its_name_is_the_same() -> None:
    class Flat(nn.Module):
        def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
            super().__init__()
            self.function = function

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.function(x)

    names = graph_of(Flat(lambda x: torch.flatten(x, 1))).names

    assert graph_of(Flat(lambda x: x.flatten(1))).names == names
    assert graph_of(Flat(lambda x: x.flatten(2))).names != names


def test_a_tensor_belongs_to_the_first_layer_that_uses_it() -> None:
    module = Tied()
    graph = graph_of(module)

    assert list(tensor_names(module).values()) == ["first.weight", "first.bias", "other.bias"]
    assert graph.predecessors == ((), (0,), (1,), (2, 1), (3, 1))
    assert graph.layers[3].spec["shared"] == "weight=%1.weight, bias=%1.bias"
    assert graph.layers[4].spec["shared"] == "weight=%1.weight"
    assert common(graph, graph_of(Untied())) == [True] * 3 + [False] * 2


def test_a_constant_counts_by_its_values_and_is_not_left_in_the_module() -> None:
    module = Scaled()
    attributes = set(vars(module))

    graph = graph_of(module)

    assert set(vars(module)) == attributes
    assert kinds(graph).count("torch.input") == 1
    assert graph_of(Scaled()).names == graph.names
    assert graph_of(Scaled(3.0)).names != graph.names
    assert list(tensor_names(module).values()) == ["scale"]


def test_with_an_example_shapes_and_flops_are_known() -> None:
    module = mlp()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}

    graph = graph_of(module, torch.zeros(3, 4))

    assert graph.layers[0].spec["out"] == (4,)
    assert [layer.flops for layer in graph.layers] == [0, 64, 0, 0, 96, 24]
    assert graph_of(module, torch.zeros(5, 4)).names == graph.names
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


def test_an_example_moves_no_running_statistics() -> None:
    module = Residual().train()

    graph_of(module, torch.ones(2, 3, 4, 4))

    assert module.left[1].num_batches_tracked == 0


def test_what_cannot_be_traced_is_refused_with_what_to_do() -> None:
    with pytest.raises(GraphError, match=r"Branching cannot be traced.*torch\.fx\.wrap") as error:
        graph_of(Branching())
    assert "\n" not in str(error.value)
    with pytest.raises(GraphError, match="Sequential does not take the example"):
        graph_of(mlp(), torch.zeros(3, 5))
