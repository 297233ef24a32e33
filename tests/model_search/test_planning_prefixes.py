"""The prefix tree: what is shared is one node, what is pruned is gone, every chain comes back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench_core.model_search.errors import SearchError
from bench_core.model_search.planning import ExecutionTree, PrefixTree
from bench_core.model_search.planning.prefix_tree import ROOT

chain_lists = st.lists(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=5), min_size=1, max_size=12
)


def chain_to(tree: PrefixTree, node: int) -> list[str]:
    """Return the block keys on the way from the input to a node."""
    keys = []
    while node != ROOT:
        keys.append(tree.keys[tree.block[node]])
        node = int(tree.parent[node])
    return keys[::-1]


def prefixes(chains: list[list[str]]) -> set[tuple[str, ...]]:
    """Return all prefixes but the empty one: what has to run once for every batch."""
    return {tuple(chain[:end]) for chain in chains for end in range(1, len(chain) + 1)}


def chain(text: str) -> list[str]:
    """Return one block a letter."""
    return list(text)


@given(chains=chain_lists)
def test_a_node_is_a_distinct_prefix_and_every_model_ends_at_its_own(
    chains: list[list[str]],
) -> None:
    tree = PrefixTree.of(chains)
    assert [chain_to(tree, int(end)) for end in tree.ends] == chains
    assert {tuple(chain_to(tree, node)) for node in range(tree.n_nodes)} == prefixes(chains)
    assert tree.n_nodes == len(prefixes(chains))
    assert tree.depth.tolist() == [len(chain_to(tree, n)) - 1 for n in range(tree.n_nodes)]
    assert (tree.parent < np.arange(tree.n_nodes)).all()


@given(chains=chain_lists, data=st.data())
def test_pruning_leaves_the_tree_of_the_others(
    chains: list[list[str]], data: st.DataObject
) -> None:
    numbers = st.integers(0, len(chains) - 1)
    live = sorted(data.draw(st.sets(numbers, min_size=1)))
    pruned = PrefixTree.of(chains).of_models(live)
    alone = PrefixTree.of([chains[model] for model in live])
    assert pruned.models.tolist() == live
    assert pruned.n_nodes == alone.n_nodes
    assert [chain_to(pruned, int(end)) for end in pruned.ends] == [chains[m] for m in live]
    again = data.draw(st.sampled_from(live))
    assert pruned.of_models([again]).n_nodes == len(chains[again])


@given(chains=chain_lists)
def test_identical_models_share_their_end(chains: list[list[str]]) -> None:
    tree = PrefixTree.of(chains)
    for model, end in enumerate(tree.ends):
        same = [other for other, keys in enumerate(chains) if keys == chains[model]]
        assert tree.models[tree.ends == end].tolist() == same


@given(chains=chain_lists)
def test_units_are_the_longest_runs_that_nothing_branches_off_from(
    chains: list[list[str]],
) -> None:
    prefix_tree = PrefixTree.of(chains)
    tree = ExecutionTree.of(prefix_tree)
    for unit in tree.units:
        assert unit.parent < unit.index
        assert all(tree.units[child].parent == unit.index for child in unit.children)
        # One that neither ends a model nor branches would be longer.
        assert unit.models or len(unit.children) > 1
    for model, end in enumerate(prefix_tree.ends):
        (unit,) = (unit for unit in tree.units if model in unit.models)
        keys: list[str] = []
        index = unit.index
        while index != ROOT:
            keys = tree.block_keys(tree.units[index]) + keys
            index = tree.units[index].parent
        assert keys == chains[model]
        assert tree.last_node[unit.index] == end


@pytest.mark.parametrize(
    ("chains", "n_edges"),
    [
        # Prefixes of 3, 3 to 4 and 4 of six blocks are shared.
        (["abcdef", "abcdeg", "abchij", "abchkl"], 7),
        (["abcdef", "abcghi", "jklmno"], 4),
        (["abcdef", "abcghi", "jklmno", "jklpqr"], 6),
    ],
)
def test_published_examples_of_the_compressed_tree(chains: list[str], n_edges: int) -> None:
    tree = ExecutionTree.of(PrefixTree.of([chain(text) for text in chains]))
    assert len(tree.units) == n_edges


def test_the_same_model_twice_shares_every_node_and_pruning_one_keeps_the_branch() -> None:
    tree = PrefixTree.of([chain("abc"), chain("abd"), chain("abc")])
    assert tree.n_nodes == 4
    assert tree.of_models([0, 1]).n_nodes == tree.n_nodes
    assert tree.of_models([1, 2]).n_nodes == tree.n_nodes
    assert tree.of_models([1]).n_nodes == 3


def test_a_model_that_another_goes_on_from_ends_a_unit() -> None:
    tree = ExecutionTree.of(PrefixTree.of([chain("abcd"), chain("ab")]))
    assert [tree.block_keys(unit) for unit in tree.units] == [["a", "b"], ["c", "d"]]
    assert [unit.models for unit in tree.units] == [(1,), (0,)]


def test_one_model_is_one_unit_and_two_strangers_are_two_roots() -> None:
    alone = ExecutionTree.of(PrefixTree.of([chain("abc")]))
    assert [(unit.parent, unit.models) for unit in alone.units] == [(ROOT, (0,))]
    strangers = ExecutionTree.of(PrefixTree.of([chain("abc"), chain("xbc")]))
    assert strangers.roots == (0, 1)
    assert sorted(unit.models for unit in strangers.units) == [(0,), (1,)]


def test_an_equal_block_behind_another_prefix_is_another_node() -> None:
    tree = PrefixTree.of([chain("ab"), chain("cb")])
    assert tree.n_nodes == 4
    assert tree.keys == ("a", "b", "c")


@pytest.mark.parametrize("chains", [[], [[]], [["a"], []]])
def test_no_model_or_one_without_blocks_is_refused(chains: list[list[str]]) -> None:
    with pytest.raises(SearchError, match="at least one model"):
        PrefixTree.of(chains)


@given(chains=chain_lists)
def test_numbered_blocks_give_the_same_tree(chains: list[list[str]]) -> None:
    ids = np.full((len(chains), max(map(len, chains))), -1, dtype=np.int64)
    for row, keys in zip(ids, chains, strict=True):
        row[: len(keys)] = ["abc".index(key) for key in keys]
    tree = PrefixTree.of_ids(ids, "abc")
    assert [chain_to(tree, int(end)) for end in tree.ends] == chains
    assert tree.n_nodes == PrefixTree.of(chains).n_nodes


def test_distinct_blocks_are_those_of_one_model_and_what_each_other_replaced() -> None:
    replaced = [0, 1, 2, 0, 4]
    chains = [
        [*(f"base{i}" for i in range(6 - own)), *(f"own{model}.{i}" for i in range(own))]
        for model, own in enumerate(replaced)
    ]
    tree = PrefixTree.of(chains)
    assert tree.n_nodes == len(tree.keys) == 6 + sum(replaced)
