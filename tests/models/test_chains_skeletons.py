"""Modules copied from one skeleton of each kind compute what modules built anew compute."""

from __future__ import annotations

import pytest
import torch

from bench_core.errors import TensorMismatchError
from bench_core.models.chains import Skeletons, block_module, chain, chain_names, initialised
from bench_core.models.chains.resources import chain_resources, input_shapes
from bench_core.models.chains.spec import ChainSpec

SMALL = [name for name in chain_names() if name.endswith(("_tiny", "_deep"))]


def inputs_of_blocks(spec: ChainSpec) -> list[tuple[torch.Tensor, ...]]:
    """Return a batch as it arrives at each block."""
    shape = tuple(length or 3 for length in spec.input.shape[:1])
    shape += tuple(length or 64 for length in spec.input.shape[1:])
    taken = input_shapes(spec.input.kind, shape)
    needs = chain_resources(spec.blocks, taken)
    generator = torch.Generator().manual_seed(0)
    return [
        tuple(
            torch.randn(2, *item.shape, generator=generator)
            if item.dtype.is_floating_point
            else torch.ones(2, *item.shape, dtype=item.dtype)
            for item in given
        )
        for given in [taken, *(need.output for need in needs[:-1])]
    ]


@pytest.mark.parametrize("name", SMALL)
def test_copies_compute_what_modules_built_anew_compute(name: str) -> None:
    spec = chain(name)
    skeletons = Skeletons()
    for position, (block, given) in enumerate(
        zip(spec.blocks, inputs_of_blocks(spec), strict=True)
    ):
        tensors = initialised(block, position)
        taken = given if len(given) > 1 else given[0]
        with torch.inference_mode():
            found = skeletons.block_module(block, tensors)(taken)
            expected = block_module(block, tensors)(taken)
        found, expected = (x if isinstance(x, tuple) else (x,) for x in (found, expected))
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_copies_hold_the_very_tensors_and_share_none() -> None:
    block = chain("resnet_tiny").blocks[1]
    first, second = initialised(block, 0), initialised(block, 1)
    skeletons = Skeletons()
    one, other = skeletons.block_module(block, first), skeletons.block_module(block, second)
    for module, tensors in [(one, first), (other, second)]:
        held = module.state_dict()
        assert held.keys() == tensors.keys()
        assert all(held[name].data_ptr() == tensors[name].data_ptr() for name in tensors)
    assert not any(parameter.requires_grad for parameter in one.parameters())
    assert not one.training


def test_other_tensors_are_refused_by_name() -> None:
    block = chain("mlp_tiny").blocks[0]
    tensors = initialised(block, 0)
    name, tensor = next(iter(tensors.items()))
    skeletons = Skeletons()
    with pytest.raises(TensorMismatchError, match=f"{name}: found none, expected"):
        skeletons.block_module(block, {k: v for k, v in tensors.items() if k != name})
    with pytest.raises(TensorMismatchError, match=f"{name}: found"):
        skeletons.block_module(block, tensors | {name: tensor[:1]})
    with pytest.raises(TensorMismatchError, match="more: found"):
        skeletons.block_module(block, tensors | {"more": tensor})
