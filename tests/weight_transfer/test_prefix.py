"""The longest common prefix: by frontier, by names and by index are one; ties are decided."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_graphs import chains, graphs, layer, shuffled

from bench_core.errors import UnknownNameError
from bench_core.weight_transfer import (
    MEASURES,
    ArchitectureGraph,
    GraphError,
    Match,
    Measure,
    PrefixIndex,
    by_frontier,
    by_intersection,
    coverage,
    sequential,
    tensor_id,
    weight,
)

either = st.one_of(graphs(), chains())


@given(graphs(), graphs())
def test_walking_the_graphs_and_comparing_names_give_the_same_prefix(
    parent: ArchitectureGraph, child: ArchitectureGraph
) -> None:
    assert by_frontier(parent, child) == by_intersection(parent, child)


@given(graphs(), st.data())
def test_a_part_of_a_graph_is_its_own_prefix(graph: ArchitectureGraph, data: st.DataObject) -> None:
    size = data.draw(st.integers(1, len(graph)))
    part = ArchitectureGraph(graph.layers[:size], graph.predecessors[:size])
    assert by_frontier(part, graph) == by_intersection(part, graph) == tuple(range(size))
    assert by_frontier(graph, part) == tuple(range(size))


@given(graphs(), st.data())
def test_names_do_not_depend_on_the_order_in_which_the_layers_are_given(
    graph: ArchitectureGraph, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(graph))))
    assert set(shuffled(graph, order).names) == set(graph.names)


@given(graphs())
def test_names_within_a_graph_differ(graph: ArchitectureGraph) -> None:
    assert len(set(graph.names)) == len(graph)


@given(graphs(), graphs())
def test_a_prefix_holds_all_that_lies_before_its_layers(
    parent: ArchitectureGraph, child: ArchitectureGraph
) -> None:
    prefix = set(by_intersection(parent, child))
    assert all(set(child.predecessors[v]) <= prefix for v in prefix)


def test_the_published_example() -> None:
    edges = [(0, 7), (0, 1), (1, 2), (1, 3), (1, 4), (2, 5), (3, 5), (4, 6)]
    edges += [(5, 7), (5, 8), (6, 8), (8, 9)]
    child = _from_edges(10, edges)
    without = [edge for edge in edges if 6 not in edge] + [(4, 8)]
    parent = _from_edges(10, without)
    expected = {0, 1, 2, 3, 4, 5, 7}
    for method in (by_frontier, by_intersection):
        assert {_kind(child, v) for v in method(parent, child)} == expected


def test_the_order_of_inputs_matters() -> None:
    ends = (layer(1), layer(2))
    one = ArchitectureGraph((*ends, layer(0)), ((), (), (0, 1)))
    other = ArchitectureGraph((*ends, layer(0)), ((), (), (1, 0)))
    assert by_frontier(one, other) == by_intersection(one, other) == (0, 1)


def test_equal_towers_over_one_input_are_different_layers() -> None:
    towers = ArchitectureGraph(
        (layer(0), layer(1), layer(1), layer(2), layer(2)), ((), (0,), (0,), (1,), (2,))
    )
    assert len(set(towers.names)) == 5
    single = sequential([layer(0), layer(1), layer(2)])
    assert by_frontier(towers, single) == by_intersection(towers, single) == (0, 1, 2)
    assert by_frontier(single, towers) == by_intersection(single, towers) == (0, 1, 3)


def test_another_shape_of_a_tensor_is_another_layer() -> None:
    one, other = sequential([layer(1, 4), layer(1, 8)]), sequential([layer(1, 4), layer(1, 4)])
    assert by_intersection(one, other) == (0,)


def test_ids_of_neighbouring_tensors_never_meet() -> None:
    """The original adds the tensor's number to the layer's hash, so that neighbours overlap."""
    names = [bytes([i]) * 16 for i in range(40)]
    ids = {tensor_id(name, f"{tensor}") for name in names for tensor in range(40)}
    assert len(ids) == 1600


def test_names_are_the_same_in_every_process_and_for_every_hash_seed() -> None:
    program = (
        "from bench_core.models.chains import BlockSpec\n"
        "from bench_core.weight_transfer import Layer, sequential\n"
        "layers = [Layer(BlockSpec.of('dense', units=u, activation='relu', shape=(u, 3)))"
        " for u in (4, 8)]\n"
        "print([name.hex() for name in sequential(layers).names])"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert printed == {"['5119d70196005536db4fdef89d7f07fe', 'b1f04f5b6b4a18608f3ac6c3495bcf01']\n"}


@given(
    st.lists(st.tuples(either, st.sampled_from([None, math.nan, 0.25, 0.5])), max_size=8),
    either,
    st.sampled_from(MEASURES),
    st.data(),
)
def test_the_index_finds_what_comparing_all_models_finds(
    models: list[tuple[ArchitectureGraph, float | None]],
    child: ArchitectureGraph,
    measure: Measure,
    data: st.DataObject,
) -> None:
    index = PrefixIndex()
    live = {}
    for model, (graph, accuracy) in enumerate(models):
        index.add(model, graph.names, accuracy)
        live[model] = (graph, accuracy)
    for model in data.draw(st.lists(st.integers(0, 8), unique=True, max_size=4)):
        index.best(child, measure)  # so that a preferred model is known before it goes
        index.remove(model)
        live.pop(model, None)
    assert index.best(child, measure) == _by_scan(live, child, measure)
    passed_over = data.draw(st.sets(st.integers(0, 8)))
    others = {model: known for model, known in live.items() if model not in passed_over}
    assert index.best(child, measure, passed_over) == _by_scan(others, child, measure)
    assert index.coverage(child) == coverage((graph for graph, _ in live.values()), child)
    assert len(index) == len(live)


def _by_scan(
    live: dict[int, tuple[ArchitectureGraph, float | None]],
    child: ArchitectureGraph,
    measure: Measure,
) -> Match | None:
    found = []
    for model, (graph, accuracy) in live.items():
        positions = by_frontier(graph, child)
        if positions:
            score = sum(weight(child.layers[v], measure) for v in positions)
            known = -math.inf if accuracy is None or math.isnan(accuracy) else accuracy
            found.append(((score, known, -model), Match(model, positions, score)))
    return max(found, key=lambda pair: pair[0])[1] if found else None


def test_of_equally_long_prefixes_the_more_accurate_model_wins_then_the_smaller_id() -> None:
    index, graph = PrefixIndex(), sequential([layer(1), layer(2)])
    index.add(7, graph.names, accuracy=None)
    index.add(5, graph.names, accuracy=0.5)
    index.add(3, graph.names, accuracy=0.5)
    index.add(1, graph.names, accuracy=0.4)
    best = index.best(graph)
    assert best is not None and best.donor == 3
    index.add(9, graph.names, accuracy=0.6)
    best = index.best(graph)
    assert best is not None and best.donor == 9


def test_no_common_layer_is_no_match() -> None:
    index = PrefixIndex()
    assert index.best(sequential([layer(1)])) is None
    index.add(1, sequential([layer(2)]).names)
    assert index.best(sequential([layer(1)])) is None


def test_an_unknown_measure_is_named() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'bytes'"):
        PrefixIndex().best(sequential([layer(1)]), "byte")  # type: ignore[arg-type]


def test_a_layer_that_takes_a_later_output_is_refused() -> None:
    with pytest.raises(GraphError, match="layer 0 takes the output of layer 1"):
        ArchitectureGraph((layer(1), layer(2)), ((1,), ()))


@given(graphs())
def test_a_graph_comes_back_from_json(graph: ArchitectureGraph) -> None:
    assert ArchitectureGraph.from_json(graph.as_json()) == graph


def _from_edges(size: int, edges: list[tuple[int, int]]) -> ArchitectureGraph:
    """A graph whose layer ``v`` is of kind ``v``, in a topological order."""
    before = {v: sorted(u for u, w in edges if w == v) for v in range(size)}
    order: list[int] = []
    while len(order) < size:
        order += [v for v in before if v not in order and all(u in order for u in before[v])][:1]
    where = {v: position for position, v in enumerate(order)}
    return ArchitectureGraph(
        tuple(layer(v) for v in order),
        tuple(tuple(where[u] for u in before[v]) for v in order),
    )


def _kind(graph: ArchitectureGraph, position: int) -> int:
    return int(graph.layers[position].spec["variant"])
