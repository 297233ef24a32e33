"""Networks of graphs: values and gradients of plain torch, seeded bits, and frozen prefixes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
import torch
from torch import nn

from bench_core.models.chains import BlockSpec
from bench_core.weight_transfer.errors import GraphError
from bench_core.weight_transfer.graphs import ArchitectureGraph, Layer, sequential
from bench_core.weight_transfer.layers import (
    ACTIVATIONS,
    activation,
    add,
    batch_norm,
    concat,
    conv1d,
    dense,
    dropout,
    flatten,
    input_layer,
    max_pool1d,
)
from bench_core.weight_transfer.network import Network, materialise


def convolutional() -> ArchitectureGraph:
    """Input, convolution, pool, normalisation, flatten, dense, dropout, dense."""
    return sequential(
        [
            input_layer((2, 20)),
            conv1d((2, 20), 4, 5, activation="relu"),
            max_pool1d((4, 16), 3),
            batch_norm((4, 5)),
            flatten((4, 5)),
            dense((20,), 6, "tanh"),
            dropout((6,), 0.5),
            dense((6,), 3),
        ]
    )


def two_inputs() -> ArchitectureGraph:
    """Two inputs, a dense layer for each, their ordered concatenation, a skip, a head."""
    layers = (
        input_layer((3,)),
        input_layer((4,)),
        dense((3,), 5, "relu"),
        dense((4,), 5),
        concat([(5,), (5,)]),
        dense((10,), 5),
        add((5,), 2),
        dense((5,), 2),
    )
    return ArchitectureGraph(layers, ((), (), (0,), (1,), (3, 2), (4,), (5, 2), (6,)))


def digests(network: Network, positions: range) -> dict[str, str]:
    prefixes = tuple(f"{position}." for position in positions)
    return {
        name: hashlib.sha256(tensor.numpy().tobytes()).hexdigest()
        for name, tensor in network.state_dict().items()
        if name.startswith(prefixes)
    }


def train(network: Network, inputs: torch.Tensor, steps: int = 3) -> None:
    optimizer = torch.optim.AdamW(network.trainable_parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        network(inputs).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("graph", [convolutional(), two_inputs()], ids=["chain", "two inputs"])
def test_the_state_dict_has_the_names_and_specs_of_the_graph(graph: ArchitectureGraph) -> None:
    state = materialise(graph).state_dict()

    assert list(state) == list(graph.tensors())
    assert all(tuple(state[name].shape) == spec.shape for name, spec in graph.tensors().items())
    assert all(state[name].dtype == spec.dtype for name, spec in graph.tensors().items())


def test_values_and_gradients_are_those_of_a_sequential_module() -> None:
    network = materialise(convolutional(), seed=1)
    conv, dense_, head = nn.Conv1d(2, 4, 5), nn.Linear(20, 6), nn.Linear(6, 3)
    norm, drop = nn.BatchNorm1d(4), nn.Dropout(0.5)
    plain = nn.Sequential(
        conv, nn.ReLU(), nn.MaxPool1d(3), norm, nn.Flatten(), dense_, nn.Tanh(), drop, head
    )
    plain.load_state_dict(dict(zip(plain.state_dict(), network.state_dict().values(), strict=True)))
    x = torch.randn(7, 2, 20, generator=torch.Generator().manual_seed(0))

    outputs, gradients = [], []
    for module in (network, plain):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            outputs.append(module(x))
        outputs[-1].square().sum().backward()
        gradients.append([parameter.grad for parameter in module.parameters()])

    assert torch.equal(*outputs)
    assert all(map(torch.equal, *gradients))
    assert all(map(torch.equal, network.buffers(), plain.buffers()))


def test_inputs_go_to_the_layers_in_order() -> None:
    network = materialise(two_inputs())
    a, b = torch.randn(6, 3), torch.randn(6, 4)
    layer = [network.layer(position) for position in range(8)]

    left, right = torch.relu(nn.Linear.forward(layer[2], a)), layer[3](b)
    expected = layer[7](layer[5](torch.cat([right, left], -1)) + left)

    assert torch.equal(network((a, b)), expected)
    with pytest.raises(GraphError, match="1 inputs, expected 2"):
        network(a)


def test_several_last_layers_give_a_tuple() -> None:
    graph = ArchitectureGraph((input_layer((3,)), dense((3,), 2), dense((3,), 4)), ((), (0,), (0,)))

    first, second = materialise(graph)(torch.zeros(5, 3))

    assert (first.shape, second.shape) == ((5, 2), (5, 4))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_torchs(name: str) -> None:
    modules = {
        "linear": nn.Identity(),
        "relu": nn.ReLU(),
        "tanh": nn.Tanh(),
        "sigmoid": nn.Sigmoid(),
        "softmax": nn.Softmax(dim=-1),
        "silu": nn.SiLU(),
        "elu": nn.ELU(),
        "gelu": nn.GELU(),
    }
    x = torch.linspace(-3, 3, 12).view(2, 6)

    network = materialise(sequential([input_layer((6,)), activation((6,), name)]))

    assert torch.equal(network(x), modules[name](x))


def test_a_layers_first_values_depend_on_the_seed_and_its_name_only() -> None:
    torch.manual_seed(1)
    one = materialise(sequential([input_layer((4,)), dense((4,), 5), dense((5,), 2)]), seed=3)
    state = torch.get_rng_state()
    head = [dense((5,), 6), dense((6,), 2)]
    other = materialise(sequential([input_layer((4,)), dense((4,), 5), *head]), seed=3)

    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one.layer(1).weight, other.layer(1).weight)
    assert torch.equal(one.layer(1).bias, other.layer(1).bias)
    assert not torch.equal(one.layer(2).weight[0], other.layer(2).weight[0])
    again = materialise(one.graph, seed=4)
    assert not torch.equal(one.layer(1).weight, again.layer(1).weight)


def test_first_values_are_within_torchs_bounds() -> None:
    network = materialise(sequential([input_layer((100,)), dense((100,), 200), batch_norm((200,))]))

    weight = network.layer(1).weight.detach()
    assert 0.099 < weight.abs().max() <= 0.1
    assert weight.std() == pytest.approx(0.1 / 3**0.5, rel=0.02)
    assert torch.equal(network.layer(2).weight, torch.ones(200))
    assert torch.equal(network.layer(2).running_var, torch.ones(200))


def test_initialising_some_layers_leaves_the_others() -> None:
    network = materialise(convolutional(), seed=1)
    before = digests(network, range(8))

    network.initialise(2, positions=[7])

    after = digests(network, range(8))
    assert {name for name in before if before[name] != after[name]} == {"7.weight", "7.bias"}


def test_on_meta_there_is_no_memory() -> None:
    width = 10**7
    network = materialise(sequential([input_layer((width,)), dense((width,), width)]), "meta")

    assert all(tensor.is_meta for tensor in network.state_dict().values())
    assert network(torch.empty(2, width, device="meta")).shape == (2, width)


def test_training_changes_no_bit_of_frozen_parameters_and_buffers() -> None:
    network = materialise(convolutional()).train()
    network.freeze(range(6))
    network.train()
    before, head = digests(network, range(6)), digests(network, range(6, 8))
    assert "3.running_mean" in before

    train(network, torch.randn(9, 2, 20))

    assert digests(network, range(6)) == before
    assert all(digests(network, range(6, 8))[name] != digest for name, digest in head.items())


def test_unfrozen_layers_train_and_move_their_statistics_again() -> None:
    network = materialise(convolutional()).train()
    network.freeze(range(6))
    network.unfreeze()
    before = digests(network, range(8))

    train(network, torch.randn(9, 2, 20))

    assert all(digests(network, range(8))[name] != digest for name, digest in before.items())


def test_the_frozen_prefix_keeps_no_activations() -> None:
    network = materialise(convolutional()).train()
    network.freeze([1, 2, 3, 7])
    seen: dict[int, bool] = {}

    def note(position: int) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
            seen[position] = output.grad_fn is not None

        return hook

    for position in range(8):
        network.layer(position).register_forward_hook(note(position))

    network(torch.randn(9, 2, 20, requires_grad=True))

    assert [seen[position] for position in range(8)] == [False] * 5 + [True] * 3


def test_a_frozen_layer_after_a_trained_one_passes_the_gradient() -> None:
    network = materialise(two_inputs())
    network.freeze([0, 2, 5])

    network((torch.randn(6, 3), torch.randn(6, 4))).square().sum().backward()

    assert network.layer(5).weight.grad is None
    assert network.layer(3).weight.grad.abs().sum() > 0


def test_dropout_is_off_where_frozen() -> None:
    graph = sequential([input_layer((50,)), dropout((50,), 0.5)])
    network = materialise(graph).train()
    x = torch.ones(4, 50)

    assert not torch.equal(network(x), x)
    network.freeze([1])
    assert torch.equal(network.train()(x), x)


def test_trainable_parameters_are_those_not_frozen() -> None:
    network = materialise(convolutional())
    network.freeze(range(5))

    expected = [*network.layer(5).parameters(), *network.layer(7).parameters()]
    assert list(map(id, network.trainable_parameters())) == list(map(id, expected))
    with pytest.raises(GraphError, match="no layer 8, expected 0 to 7"):
        network.freeze([8])


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(GraphError, match=r"no module for a layer other\.kind"):
        Network(sequential([Layer(BlockSpec.of("other.kind"))]))
