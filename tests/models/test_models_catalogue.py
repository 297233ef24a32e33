"""Names, published sizes, modules and the errors for names that do not exist."""

from __future__ import annotations

import itertools
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench_core import models
from bench_core.errors import UnknownNameError

PUBLISHED = {
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "resnet152": 60_192_808,
    "vit_b_16": 86_567_656,
    "vit_l_16": 304_326_632,
    "bert_base": 109_482_240,
    "gpt2": 124_439_808,
    "nt3": 154_922_918,
    "nt3_small": 12_547_214,
}


def test_every_name_has_a_published_size_here() -> None:
    assert sorted(models.names()) == sorted(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_counts_are_the_published_ones(name: str) -> None:
    module = models.build(name)
    assert all(parameter.is_meta for parameter in module.parameters())
    assert sum(parameter.numel() for parameter in module.parameters()) == PUBLISHED[name]


def test_specs_are_those_of_the_state_dict() -> None:
    specs = models.specs("resnet18")
    state = models.build("resnet18").state_dict()
    assert list(specs) == list(state)
    assert all(specs[key].shape == tuple(value.shape) for key, value in state.items())
    assert all(specs[key].dtype == value.dtype for key, value in state.items())
    # 20 batch normalisations count their batches in an int64 each.
    assert sum(spec.dtype == torch.int64 for spec in specs.values()) == 20


def test_specs_can_be_changed_by_the_caller_without_harm() -> None:
    models.specs("nt3_small").clear()
    assert len(models.specs("nt3_small")) == 10


@given(count=st.integers(1, 40), size=st.integers(1, 64), unit=st.sampled_from(["KiB", "MiB"]))
def test_stack_layers_have_the_size_asked_for_and_form_a_chain(
    count: int, size: int, unit: str
) -> None:
    specs = list(models.specs(f"stack_{count}x{size}{unit}").values())
    assert [spec.nbytes for spec in specs] == [size * {"KiB": 2**10, "MiB": 2**20}[unit]] * count
    for before, after in itertools.pairwise(specs):
        assert after.shape[1] == before.shape[0]


@given(count=st.integers(1, 40), words=st.integers(1, 5000))
def test_tiny_tensors_have_the_size_asked_for(count: int, words: int) -> None:
    specs = models.specs(f"tiny_{count}x{4 * words}B")
    assert [spec.nbytes for spec in specs.values()] == [4 * words] * count


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet_18", "did you mean 'resnet18'"),
        ("stack64x8MiB", "did you mean 'stack_64x8MiB'"),
        ("stack_64x8MB", "unit 'MB' is not one of B, KiB, MiB, GiB"),
        ("stack_64x8", "unit '' is not one of"),
        ("tiny_1000x6B", "multiple of 4 bytes"),
        ("tiny_0x4KiB", "at least one tensor"),
        ("stack_2x0KiB", "found 2 of 0 bytes"),
        ("stack_2x-4KiB", "unknown model"),
        ("", "unknown model ''"),
    ],
)
def test_a_wrong_name_is_one_clear_line(name: str, message: str) -> None:
    for call in (models.specs, models.build, models.tensors):
        with pytest.raises(UnknownNameError, match=re.escape(message)) as caught:
            call(name)
        assert "\n" not in str(caught.value)


def test_a_built_module_holds_the_seeded_tensors() -> None:
    state = models.build("resnet18", "cpu", seed=5).state_dict()
    expected = models.tensors("resnet18", seed=5)
    assert list(state) == list(expected)
    assert all(models.equal_bytes(state[key], expected[key]) for key in expected)


def test_buffers_outside_the_state_dict_keep_their_values() -> None:
    module = models.build("bert_base", "cpu")
    positions = dict(module.named_buffers())["embeddings.position_ids"]
    assert torch.equal(positions.flatten(), torch.arange(positions.numel()))
    with torch.no_grad():
        assert module(torch.arange(8).reshape(1, 8)).last_hidden_state.isfinite().all()


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("resnet50", torch.randn(1, 3, 64, 64)),
        pytest.param("vit_b_16", torch.randn(1, 3, 224, 224), marks=pytest.mark.slow),
        pytest.param("gpt2", torch.arange(16).reshape(1, 16), marks=pytest.mark.slow),
        ("nt3_small", torch.randn(1, 1, 60_483)),
        ("stack_9x32KiB", torch.randn(2, 128)),
        ("tiny_9x4KiB", torch.randn(2, 1024)),
    ],
)
def test_a_forward_pass_of_random_weights_is_finite(name: str, inputs: torch.Tensor) -> None:
    with torch.no_grad():
        output = models.build(name, "cpu")(inputs)
    values = output if isinstance(output, torch.Tensor) else output[0]
    assert values.isfinite().all()
    assert values.std() > 0
