"""Random tensors: the same for a seed and name whatever else is asked, finite, incompressible."""

from __future__ import annotations

import os
import zlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench_core.errors import UnsupportedError
from bench_core.models import TensorShape, equal_bytes, random_tensors, tensor_digest

FLOATS = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
]
INTEGERS = [torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.bool]

shapes = st.lists(st.integers(0, 9), max_size=3).map(tuple)
specs = st.dictionaries(
    st.text(min_size=1, max_size=8),
    st.builds(TensorShape, shapes, st.sampled_from([*FLOATS, *INTEGERS])),
    max_size=6,
)


def one(spec: TensorShape, name: str = "weight", seed: int = 0) -> torch.Tensor:
    return random_tensors({name: spec}, seed)[name]


@given(specs=specs, seed=st.integers(0, 2**70))
def test_a_tensor_depends_on_its_own_seed_name_and_spec_only(
    specs: dict[str, TensorShape], seed: int
) -> None:
    together = random_tensors(dict(reversed(specs.items())), seed)
    for name, spec in specs.items():
        assert together[name].shape == spec.shape
        assert together[name].dtype == spec.dtype
        assert together[name].nbytes == spec.nbytes
        assert equal_bytes(together[name], one(spec, name, seed))


def test_the_number_of_threads_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = TensorShape((3, 1_000_003), torch.float32)  # several chunks, the last one odd
    digests = set()
    for n_cpus in (1, 2, 7):
        monkeypatch.setattr(os, "cpu_count", lambda n=n_cpus: n)
        digests.add(tensor_digest(one(spec)))
    assert len(digests) == 1


def test_bytes_are_those_of_fill_version_1() -> None:
    """Pinned: cached files and stored results rely on it; raise FILL_VERSION to change them."""
    spec = TensorShape((1000, 700), torch.float32)
    assert tensor_digest(one(spec, seed=3)).hex() == "fabe9c15553d80a2e3eb519044a63632"


def test_seed_and_name_give_other_values() -> None:
    spec = TensorShape((64,), torch.float32)
    tensors = [one(spec), one(spec, seed=1), one(spec, name="other")]
    assert len({tensor_digest(tensor) for tensor in tensors}) == 3


def test_chunks_of_one_tensor_differ() -> None:
    spec = TensorShape((4, 2**18), torch.float32)  # four chunks
    assert len({tensor_digest(row) for row in one(spec)}) == 4


@settings(deadline=None)
@given(dtype=st.sampled_from(FLOATS), seed=st.integers(0, 2**32), rows=st.integers(1, 3))
def test_floats_are_finite_and_below_two(dtype: torch.dtype, seed: int, rows: int) -> None:
    values = one(TensorShape((rows, 3000), dtype), seed=seed).double()
    assert values.isfinite().all()
    assert values.abs().max() < 2
    assert (values < 0).any()
    assert (values > 0).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_wide_float_is_subnormal_and_no_product_of_two(dtype: torch.dtype) -> None:
    values = one(TensorShape((1000, 1000), dtype))
    assert values.abs().min() ** 2 > torch.finfo(dtype).tiny


@pytest.mark.parametrize("dtype", FLOATS[:4])
def test_a_running_variance_lies_between_one_and_two(dtype: torch.dtype) -> None:
    values = one(TensorShape((5000,), dtype), name="bn.running_var").double()
    assert values.min() >= 1
    assert values.max() < 2
    assert values.std() > 0.1


@pytest.mark.parametrize("fan_in", [64, 768, 4608, 773_760])
def test_a_layer_keeps_the_variance_of_its_input(fan_in: int) -> None:
    weight = one(TensorShape((8, fan_in), torch.float32))
    gain = (weight.square().mean() * fan_in).sqrt()
    assert 0.4 < gain < 1.1


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS[:-1]])
def test_bytes_hardly_compress(dtype: torch.dtype) -> None:
    values = one(TensorShape((512, 1024), dtype))
    raw = values.view(torch.uint8).numpy().tobytes()
    # A finite float8 that needs no rejection has seven random bits of eight.
    expected = 0.87 if dtype.itemsize == 1 and dtype.is_floating_point else 0.95
    assert len(zlib.compress(raw)) / len(raw) >= expected


def test_bools_are_zero_or_one_and_both() -> None:
    values = one(TensorShape((1000,), torch.bool)).view(torch.uint8)
    assert set(values.tolist()) == {0, 1}


def test_a_dtype_without_a_fill_is_named() -> None:
    with pytest.raises(UnsupportedError, match=r"weight: no random fill for torch.complex64"):
        one(TensorShape((2,), torch.complex64))
