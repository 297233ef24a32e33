"""Statistics of bits and values against slow ones, for all types, in parts of any length."""

from __future__ import annotations

import json
import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench_core.errors import UnsupportedError
from bench_core.snapshots.compare import Level, bit_statistics, difference, level_of
from bench_core.snapshots.compare.bits import as_unsigned, ones

TYPES = {
    torch.float32: 4,
    torch.float64: 8,
    torch.float16: 2,
    torch.bfloat16: 2,
    torch.float8_e4m3fn: 1,
    torch.int8: 1,
    torch.uint8: 1,
    torch.int16: 2,
    torch.uint16: 2,
    torch.int32: 4,
    torch.int64: 8,
    torch.uint64: 8,
}

few = st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 64)), max_size=12)


def tensors(
    items: list[tuple[int, int]], dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    """Return two tensors and their elements' exclusive or: some zero, some with few bits."""
    nbytes = TYPES[dtype]
    mask = 2 ** (8 * nbytes) - 1
    left = [value & mask for value, _ in items]
    apart = [(value >> shift << (shift // 2)) & mask for value, shift in items]
    right = [a ^ b for a, b in zip(left, apart, strict=True)]
    return _tensor(left, nbytes, dtype), _tensor(right, nbytes, dtype), apart


def _tensor(values: list[int], nbytes: int, dtype: torch.dtype) -> torch.Tensor:
    raw = b"".join(value.to_bytes(nbytes, "little") for value in values)
    return torch.tensor(list(raw), dtype=torch.uint8).view(dtype)


@pytest.mark.parametrize("dtype", TYPES)
@given(items=few, chunk=st.integers(1, 5))
def test_bits_agree_with_a_slow_count(
    dtype: torch.dtype, items: list[tuple[int, int]], chunk: int
) -> None:
    a, b, apart = tensors(items, dtype)
    width = 8 * TYPES[dtype]
    found = bit_statistics(a, b, chunk)
    texts = [format(value, f"0{width}b") for value in apart]
    leading = [len(text) - len(text.lstrip("0")) for text in texts]
    trailing = [len(text) - len(text.rstrip("0")) for text in texts]
    assert found.leading == tuple(leading.count(zeros) for zeros in range(width + 1))
    assert found.trailing == tuple(trailing.count(zeros) for zeros in range(width + 1))
    assert found.zero_bits == sum(text.count("0") for text in texts)
    assert found.elements == len(items)
    if items:
        assert math.isclose(found.mean_leading, sum(leading) / len(items))
        assert math.isclose(found.zero_share, found.zero_bits / (width * len(items)))


@pytest.mark.parametrize("dtype", TYPES)
@given(items=few)
def test_identical_means_equal_bytes(dtype: torch.dtype, items: list[tuple[int, int]]) -> None:
    a, b, apart = tensors(items, dtype)
    same = as_unsigned(a).tobytes() == as_unsigned(b).tobytes()
    assert (level_of(a, b) is Level.IDENTICAL) == same == (not any(apart))
    assert (bit_statistics(a, b).zero_share == 1) == same
    assert level_of(a, a.clone()) is Level.IDENTICAL


finite = st.floats(-1e6, 1e6, width=32)


@given(
    pairs=st.lists(st.tuples(finite, finite | st.sampled_from([math.nan, math.inf])), max_size=20),
    chunk=st.integers(1, 7),
)
def test_values_agree_with_a_slow_sum(pairs: list[tuple[float, float]], chunk: int) -> None:
    a, b = (torch.tensor([pair[side] for pair in pairs]) for side in (0, 1))
    apart = [abs(x - y) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    counted = [value for value in apart if math.isfinite(value)]
    found = difference(a, b, chunk)
    assert (found.finite, found.not_finite) == (len(counted), len(apart) - len(counted))
    if not counted:
        assert all(map(math.isnan, (found.mse, found.smallest, found.mean, found.largest)))
        return
    assert (found.smallest, found.largest) == (min(counted), max(counted))
    assert math.isclose(found.mean, math.fsum(counted) / len(counted))
    squares = math.fsum(value * value for value in counted)
    assert math.isclose(found.mse, squares / len(counted))


@given(st.lists(st.integers(0, 2**32 - 1)))
def test_one_bits_are_counted_without_numpy_2(values: list[int]) -> None:
    array = np.array(values, np.uint32)
    expected = ones(array)
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(np, "bitwise_count", raising=False)
        assert ones(array) == expected == sum(value.bit_count() for value in values)


def test_neighbouring_floats_differ_in_the_last_bit() -> None:
    a = torch.tensor([1.0, 2.0, 4.0, 8.0])
    b = torch.nextafter(a, torch.tensor(math.inf))
    found = difference(a, b).bits
    assert found is not None
    assert found.leading[31] == found.trailing[0] == 4
    assert found.zero_share == 31 / 32


def test_signed_zeros_and_nans_are_told_apart_by_bits_alone() -> None:
    zeros = torch.tensor([0.0]), torch.tensor([-0.0])
    assert level_of(*zeros) is Level.SAME_SHAPE
    assert difference(*zeros).largest == 0
    nan = torch.tensor([math.nan])
    assert level_of(nan, nan.clone()) is Level.IDENTICAL
    payload = nan.view(torch.int32) + 1
    assert level_of(nan, payload.view(torch.float32)) is Level.SAME_SHAPE


def test_complex_numbers_and_scalars() -> None:
    a, b = torch.tensor(3 + 4j), torch.tensor(0j)
    found = difference(a, b)
    assert (found.mean, found.mse) == (5, 25)
    assert found.bits is not None
    assert (found.bits.width, found.bits.elements) == (32, 2)
    assert difference(torch.tensor(2), torch.tensor(5)).mean == 3


def test_other_types_have_values_and_no_bits() -> None:
    a = torch.tensor([1.5, 2.5])
    found = difference(a, a.to(torch.float16))
    assert (found.largest, found.bits) == (0, None)
    assert level_of(a, a.to(torch.float16)) is Level.SAME_SHAPE


def test_views_that_are_not_contiguous() -> None:
    a = torch.arange(12.0).view(3, 4)
    assert bit_statistics(a.t(), a.t().contiguous()).zero_share == 1
    assert difference(a.t(), a.t() + 1).mse == 1


def test_other_shapes_cannot_be_compared() -> None:
    a, b = torch.ones(2, 3), torch.ones(3, 2)
    assert level_of(a, b) is Level.SAME_NAME
    for compare in (difference, bit_statistics):
        with pytest.raises(UnsupportedError, match="shapes must be equal"):
            compare(a, b)
    assert level_of(a, None) is level_of(None, a) is Level.DIFFERENT_NAME


@pytest.mark.parametrize("shape", [(0,), (0, 3)])
def test_empty_tensors(shape: tuple[int, ...]) -> None:
    a = torch.ones(shape)
    content: dict[str, Any] = difference(a, a).as_json()
    assert content["mse"] is None
    assert json.loads(json.dumps(content, allow_nan=False)) == content


def test_large_tensors_need_no_second_memory() -> None:
    a = np.zeros(1 << 22, np.float32)
    left, right = torch.from_numpy(a), torch.from_numpy(a + 1)
    tracemalloc.start()
    try:
        bit_statistics(left, right, 1 << 12)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < a.nbytes / 10
