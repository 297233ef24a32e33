"""Digests and exact equality; blocks and their two digests."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench_core.models import TensorShape, blocks, group, random_tensors, tensors
from bench_core.models.digests import equal_bytes, tensor_digest, tensors_digest

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float8_e5m2, torch.int64, torch.bool]
shapes = st.lists(st.integers(0, 5), max_size=3).map(tuple)
drawn = st.builds(
    lambda shape, dtype, seed: random_tensors({"x": TensorShape(shape, dtype)}, seed)["x"],
    shapes,
    st.sampled_from(DTYPES),
    st.integers(0, 1),
)


@given(a=drawn, b=drawn)
def test_digests_agree_exactly_where_the_bytes_do(a: torch.Tensor, b: torch.Tensor) -> None:
    assert (tensor_digest(a) == tensor_digest(b)) == equal_bytes(a, b)
    assert equal_bytes(a, a.clone())


@given(tensor=drawn, data=st.data())
def test_one_flipped_bit_is_seen(tensor: torch.Tensor, data: st.DataObject) -> None:
    other = tensor.clone()
    if tensor.numel() == 0:
        return
    raw = other.view(-1).view(torch.uint8)
    raw[data.draw(st.integers(0, raw.numel() - 1))] ^= 1
    assert not equal_bytes(tensor, other)
    assert tensor_digest(tensor) != tensor_digest(other)


def test_equality_is_of_bits() -> None:
    nan = torch.tensor([float("nan"), 1.0])
    assert equal_bytes(nan, nan.clone())
    assert not equal_bytes(torch.tensor([0.0]), torch.tensor([-0.0]))
    assert not equal_bytes(torch.zeros(2), torch.zeros(2, 1))
    assert not equal_bytes(torch.zeros(2), torch.zeros(2, dtype=torch.int32))


@pytest.mark.parametrize("offset", [0, 1, 8])
def test_views_at_any_offset_compare_by_value(offset: int) -> None:
    buffer = torch.arange(40, dtype=torch.uint8)
    view = buffer[offset : offset + 21]
    assert equal_bytes(view, view.clone())
    changed = view.clone()
    changed[-1] += 1
    assert not equal_bytes(view, changed)


def test_strides_do_not_matter() -> None:
    matrix = torch.arange(6.0).reshape(2, 3)
    assert equal_bytes(matrix.t(), matrix.t().contiguous())
    assert tensor_digest(matrix.t()) == tensor_digest(matrix.t().contiguous())


def test_a_set_is_sensitive_to_names_and_not_to_order() -> None:
    a, b = torch.zeros(3), torch.ones(3)
    assert tensors_digest({"a": a, "b": b}) == tensors_digest({"b": b, "a": a})
    assert tensors_digest({"a": a, "b": b}) != tensors_digest({"a": b, "b": a})
    assert tensors_digest({"a": a}) != tensors_digest({"a": a, "b": b})
    assert tensors_digest({}) == tensors_digest({})


def test_digests_are_the_same_in_every_process() -> None:
    code = (
        "import torch; from bench_core.models import tensors_digest;"
        "print(tensors_digest({'b': torch.arange(5), 'a': torch.ones(2, 2)}).hex())"
    )
    here = tensors_digest({"a": torch.ones(2, 2), "b": torch.arange(5)}).hex()
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "77"},
    )
    assert done.stdout.strip() == here


def test_group_keeps_the_tensors_of_a_layer_together() -> None:
    names = ["a.0.w", "a.0.b", "a.1.w", "head", "a.0.extra"]
    assert group(names) == {"a.0": ["a.0.w", "a.0.b", "a.0.extra"], "a.1": ["a.1.w"], "": ["head"]}
    assert group(names, depth=1) == {
        "a": ["a.0.w", "a.0.b", "a.1.w", "a.0.extra"],
        "": ["head"],
    }


def test_blocks_of_equal_layers_share_the_architecture_and_not_the_parameters() -> None:
    state = tensors("stack_4x4KiB")
    chain = blocks(state)
    assert [block.name for block in chain] == [f"layers.{i}" for i in range(4)]
    assert [block.nbytes for block in chain] == [4096] * 4
    assert len({block.architecture for block in chain}) == 1
    assert len({block.parameters for block in chain}) == 4


def test_a_copied_block_is_the_same_block_under_another_name() -> None:
    state = tensors("stack_4x4KiB")
    state["layers.3.weight"] = state["layers.1.weight"].clone()
    chain = blocks(state)
    assert chain[3].parameters == chain[1].parameters
    assert chain[3].parameters != chain[0].parameters


def test_names_within_the_block_are_part_of_its_architecture() -> None:
    weight, bias = torch.zeros(2), torch.ones(2)
    first, second = blocks({"a.w": weight, "a.b": bias, "c.w": bias, "c.b": weight})
    assert first.architecture == second.architecture
    assert first.parameters != second.parameters
    (third,) = blocks({"a.w": weight, "a.beta": bias})
    assert third.architecture != first.architecture
