"""Search spaces: the published sizes, the architectures they stand for, what they refuse."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench_core.errors import UnknownNameError
from bench_core.weight_transfer import SpaceError, by_intersection, spaces
from bench_core.weight_transfer.spaces import DenseSkip, SearchSpace
from bench_core.weight_transfer.spaces.base import MOST_CHOICES

SMALL: dict[str, dict[str, object]] = {
    "dense-skip": {"layers": 4},
    "feed-forward": {"layers": 4},
    "attn": {"inputs": (20, 12), "layers": 2, "widths": (8, 12)},
    "attn-large": {"inputs": (4, 4), "layers": 1},
    "nt3-small": {"inputs": 64, "outputs": 10, "kernels": (3, 5), "pools": (2, 3)},
    "nt3-large": {
        "inputs": 64,
        "outputs": 10,
        "kernels": (3, 5),
        "pools": (2, 3),
        "second_kernels": (2, 3),
    },
}


def small(name: str) -> SearchSpace:
    return spaces.get(name, **SMALL[name])


def test_every_space_has_a_small_one_here() -> None:
    assert set(SMALL) == set(spaces.names())


def test_the_published_numbers_of_choices() -> None:
    skips = (31, 2, 31, 2, 2, *([31, 2, 2, 2] * 8))
    assert spaces.get("dense-skip").choices == skips
    assert len(skips) == 37
    assert spaces.get("dense-skip").size == 31**10 * 2**27
    assert spaces.get("feed-forward").choices == (11,) * 10
    stack = (391, 2, 391, 2, 2, 391, 2, 2, 2)
    assert spaces.get("attn").choices == stack * 3
    assert set(spaces.get("attn-large").choices) == {151, 2}
    assert spaces.get("nt3-small").choices == (16, 26, 3, 2, 5, 5, 2, 5)
    assert spaces.get("nt3-large").choices == (16, 26, 9, 26, 3, 2, 5, 5, 2, 5)


def test_a_change_in_a_chain_reaches_all_that_follows() -> None:
    assert spaces.get("nt3-small").depends == (7, 6, 5, 4, 3, 2, 1, 0)


def test_a_skip_is_reached_by_what_it_starts_from_alone() -> None:
    # Stages of 2, 3 and 4 decisions; 3 and 6 are the skips that start from the input.
    space = spaces.get("dense-skip", layers=3)
    assert space.descendants[0] == space.descendants[1] == {2, 4, 5, 7, 8}
    assert space.depends == (5, 5, 2, 2, 2, 0, 0, 0, 0)


def test_a_change_behind_one_input_does_not_reach_what_is_behind_the_other() -> None:
    space = spaces.get("attn", layers=1)
    assert space.choices == (391, 2) * 3
    assert space.descendants == (*[frozenset({4, 5})] * 4, frozenset(), frozenset())


@pytest.mark.parametrize("name", spaces.names())
def test_random_choices_are_uniform(name: str) -> None:
    space = small(name)
    archs = space.random(4000, np.random.default_rng(5))
    assert archs.dtype == np.uint16
    for column, choices in zip(archs.T, space.choices, strict=True):
        counts = np.bincount(column, minlength=choices)
        assert len(counts) == choices
        expected = 4000 / choices
        chi2 = float(((counts - expected) ** 2 / expected).sum())
        assert chi2 < choices - 1 + 5 * np.sqrt(2 * choices)


@pytest.mark.parametrize("name", spaces.names())
@given(seed=st.integers(0, 2**32))
@settings(max_examples=10, deadline=None)
def test_every_architecture_has_one_output_and_every_other_layer_is_used(
    name: str, seed: int
) -> None:
    space = small(name)
    graph = space.build(space.random(1, np.random.default_rng(seed))[0])
    unused = [v for v, after in enumerate(graph.successors) if not after]
    ends = [v for v in unused if graph.predecessors[v]]
    assert ends == [len(graph) - 1]
    weights = dict(graph.layers[-1].tensors)["weight"]
    assert weights.shape[0] == 10


@pytest.mark.parametrize("name", spaces.names())
@given(seed=st.integers(0, 2**32), data=st.data())
@settings(max_examples=10, deadline=None)
def test_a_changed_last_decision_leaves_the_layers_before_it(
    name: str, seed: int, data: st.DataObject
) -> None:
    space = small(name)
    parent = space.random(1, np.random.default_rng(seed))[0]
    position = data.draw(st.sampled_from(range(len(space.choices))))
    child = parent.copy()
    child[position] = (child[position] + 1) % space.choices[position]
    one, other = space.build(parent), space.build(child)
    common = by_intersection(one, other)
    kept = [v for v, before in enumerate(other.predecessors) if not before]
    assert set(kept) <= set(common)
    if space.depends == tuple(reversed(range(len(parent)))):
        least = _layers_before(space, parent, position)
        assert len(common) >= least


def _layers_before(space: SearchSpace, arch: np.ndarray, position: int) -> int:
    """Layers that come from the decisions before a position, of spaces in a row."""
    if space.name == "feed-forward":
        return 1 + int((arch[:position] > 0).sum())
    convolutions = position - len(space.choices) + 6
    return 1 + position + (convolutions >= 0)


def test_no_layer_and_no_skip_is_the_output_layer_alone() -> None:
    space = spaces.get("dense-skip", layers=3)
    graph = space.build([0] * len(space.choices))
    assert graph.predecessors == ((), (0,))
    assert dict(graph.layers[1].tensors)["weight"].shape == (10, 64)


def test_a_skip_is_projected_where_its_width_differs_and_only_there() -> None:
    space = DenseSkip(inputs=16, layers=2)
    relu16, relu32 = 2, 7
    same = space.build([relu16, 1, 0, 0, 0])
    # input, dense, add, ReLU, output
    assert same.predecessors == ((), (0,), (1, 0), (2,), (3,))
    other = space.build([relu32, 1, 0, 0, 0])
    # input, dense, projection, add, ReLU, output
    assert other.predecessors == ((), (0,), (0,), (1, 2), (3,), (4,))
    assert dict(other.layers[2].tensors)["weight"].shape == (32, 16)


def test_skips_reach_three_outputs_back() -> None:
    space = DenseSkip(inputs=16, layers=4)
    graph = space.build([2, 0, 2, 0, 0, 2, 0, 0, 0, 2, 1, 1, 1])
    # Layers 1 to 4 are dense; the input is four outputs back.
    assert graph.predecessors[5] == (4, 1, 2, 3)


@pytest.mark.parametrize("name", spaces.names())
def test_a_space_is_rebuilt_from_its_name_and_settings(name: str) -> None:
    space = small(name)
    again = spaces.get(name, **json.loads(json.dumps(dict(space.settings))))
    assert again == space
    assert again.choices == space.choices


@pytest.mark.parametrize(
    ("arch", "said"),
    [
        ([0] * 9, "expected integers of shape"),
        ([0] * 9 + [11], "choice 11 at position 9, expected 0 to 10"),
        ([-1] + [0] * 9, "choice -1 at position 0"),
        ([0.5] * 10, "float64"),
        ([[0] * 10], "expected one row of 10"),
    ],
)
def test_wrong_sequences_are_refused_in_one_line(arch: list[int], said: str) -> None:
    with pytest.raises(SpaceError, match=said) as caught:
        spaces.get("feed-forward").build(arch)
    assert "\n" not in str(caught.value)


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'dense-skip'"):
        spaces.get("dense-skop")
    with pytest.raises(SpaceError, match="did you mean 'layers'"):
        spaces.get("dense-skip", layer=3)
    with pytest.raises(SpaceError, match="layers is 0, expected positive integers"):
        spaces.get("dense-skip", layers=0)
    with pytest.raises(SpaceError, match="widths is"):
        spaces.get("feed-forward", widths=[])
    with pytest.raises(SpaceError, match="inputs is 48, too short"):
        spaces.get("nt3-small", inputs=48)
    with pytest.raises(SpaceError, match="-1 architectures"):
        spaces.get("attn").random(-1, np.random.default_rng(0))


def test_as_many_choices_as_are_held_are_all_drawn_and_no_more_are_taken() -> None:
    most = spaces.get("feed-forward", layers=1, widths=tuple(range(1, MOST_CHOICES)))
    assert most.choices == (65_536,)
    assert most.check([[65_535]]).tolist() == [[65_535]]
    assert most.random(400_000, np.random.default_rng(0)).max() > 65_500
    more = spaces.get("feed-forward", layers=2, widths=tuple(range(1, 70_001)))
    for use in (
        lambda: more.check([[69_999, 1]]),
        lambda: more.random(3, np.random.default_rng(0)),
        lambda: more.build([69_999, 1]),
    ):
        with pytest.raises(SpaceError, match="70001 choices at position 0, expected 1 to 65536"):
            use()
