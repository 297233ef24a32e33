"""load_into(): modules and mappings are filled in place, matched by name, shape and type."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from loading_cache import evict_or_skip
from torch import nn

from bench_core.errors import TensorMismatchError, TensorNotFoundError
from bench_core.formats.direct import Direct
from bench_core.layer_loading import POLICIES, LoadResult, load_into


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(300, 400), nn.BatchNorm1d(400), nn.Linear(400, 10))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 20)
        self.head = nn.Linear(20, 50, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("scratch", torch.zeros(3), persistent=False)


def is_equal(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    Direct().write(network(1).state_dict(), path)
    return path


@pytest.mark.parametrize("policy", POLICIES)
def test_a_module_is_filled_in_place(path: Path, policy: str) -> None:
    module = network(2)
    addresses = [parameter.data_ptr() for parameter in module.parameters()]
    result = load_into(module, path, policy=policy)
    assert is_equal(module, network(1))
    assert [parameter.data_ptr() for parameter in module.parameters()] == addresses
    assert isinstance(result, LoadResult)
    assert result.n_tensors == len(module.state_dict())
    assert result.bytes_requested == sum(t.nbytes for t in module.state_dict().values())
    assert module[0].weight.requires_grad


@pytest.mark.parametrize("policy", POLICIES)
def test_strided_destinations_are_filled(path: Path, policy: str) -> None:
    expected = network(1)[0].weight.detach()
    into = {"0.weight": torch.zeros(300, 400).t(), "0.bias": torch.zeros(400, 2)[:, 0]}
    load_into(into, path, list(into), policy=policy)
    assert torch.equal(into["0.weight"], expected)
    assert torch.equal(into["0.bias"], network(1)[0].bias)


@pytest.mark.parametrize("policy", POLICIES)
def test_destinations_whose_memory_is_not_their_value_are_filled(
    tmp_path: Path, policy: str
) -> None:
    path = tmp_path / "model.safetensors"
    numbers = torch.randn(9, dtype=torch.complex64)
    Direct().write({"t": numbers}, path)
    conjugate = torch.zeros(9, dtype=torch.complex64).conj()
    load_into({"t": conjugate}, path, policy=policy)
    assert torch.equal(conjugate, numbers)


def test_auto_reads_directly_what_is_cold_and_copies_what_is_warm(path: Path) -> None:
    evict_or_skip(path)
    assert load_into(network(2), path).policy == "direct"
    path.read_bytes()
    assert load_into(network(2), path).policy == "pread"


def test_names_choose_what_is_filled(path: Path) -> None:
    module, before, loaded = network(2), network(2), network(1)
    result = load_into(module, path, ["2.bias", "0.bias", "2.bias"])
    assert result.n_tensors == 2
    assert torch.equal(module[2].bias, loaded[2].bias)
    assert torch.equal(module[0].bias, loaded[0].bias)
    assert torch.equal(module[0].weight, before[0].weight)


def test_strict_names_what_is_missing_and_what_is_too_much(path: Path) -> None:
    module = network(2)
    module.add_module("extra", nn.Linear(2, 2))
    with pytest.raises(TensorNotFoundError, match=r"has no 'extra\.weight', 'extra\.bias'"):
        load_into(module, path)
    with pytest.raises(TensorNotFoundError, match="extra"):
        load_into(module, path, ["extra.weight"])
    with pytest.raises(TensorMismatchError, match=r"and 3 more, for which there is no destination"):
        load_into({"0.weight": torch.zeros(400, 300)}, path)
    assert is_equal(module[0], network(2)[0]), "nothing may be loaded before the check"


def test_not_strict_loads_what_both_have(path: Path) -> None:
    module = network(2)
    module.add_module("extra", nn.Linear(2, 2))
    extra = module.extra.weight.detach().clone()
    result = load_into(module, path, strict=False)
    assert result.n_tensors == len(network(1).state_dict())
    assert torch.equal(module[0].weight, network(1)[0].weight)
    assert torch.equal(module.extra.weight, extra)
    bias = torch.zeros(400)
    assert load_into({"0.bias": bias, "other": torch.zeros(1)}, path, strict=False).n_tensors == 1
    assert torch.equal(bias, network(1)[0].bias)


def test_a_name_that_has_no_destination_suggests_the_nearest(path: Path) -> None:
    with pytest.raises(TensorNotFoundError, match=r"no destination '0\.wait'.*'0\.weight'"):
        load_into(network(2), path, ["0.wait"], strict=False)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    "tensor", [torch.zeros(400, 301), torch.zeros(400, 300, dtype=torch.float16)]
)
def test_shapes_and_types_must_agree(path: Path, policy: str, tensor: torch.Tensor) -> None:
    with pytest.raises(TensorMismatchError, match=r"0\.weight"):
        load_into({"0.weight": tensor}, path, ["0.weight"], policy=policy, strict=False)


def test_one_of_tied_names_is_enough_and_the_last_of_several_wins(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    weight = torch.randn(50, 20)
    Direct().write({"embedding.weight": weight}, path)
    module = Tied()
    assert load_into(module, path).n_tensors == 1
    assert torch.equal(module.head.weight, weight)

    other = torch.randn(50, 20)
    Direct().write({"head.weight": other, "embedding.weight": weight}, path)
    expected = Tied()
    expected.load_state_dict({"embedding.weight": weight, "head.weight": other})
    for policy in POLICIES:
        module = Tied()
        load_into(module, path, policy=policy)
        assert torch.equal(module.head.weight, expected.head.weight), policy


def test_a_module_without_memory_is_refused(path: Path) -> None:
    with torch.device("meta"):
        module = network(2)
    with pytest.raises(TensorMismatchError, match="to_empty"):
        load_into(module, path)


def test_state_that_is_no_tensor_is_refused(path: Path) -> None:
    class WithExtra(nn.Linear):
        def get_extra_state(self) -> object:
            return {"epoch": 3}

    with pytest.raises(TensorMismatchError, match="'_extra_state' is a dict"):
        load_into(WithExtra(2, 2), path)


def test_a_file_of_another_format_fills_too(tmp_path: Path) -> None:
    from bench_core import formats

    path = tmp_path / "model.pt"
    formats.get("torch").write(network(1).state_dict(), path)
    module = network(2)
    assert load_into(module, path).policy == "torch"
    assert is_equal(module, network(1))


def test_training_goes_on_after_a_load(path: Path) -> None:
    """Autograd notices that values it saved for the backward pass were replaced."""
    module = network(2)
    output = module(torch.randn(4, 300)).sum()
    load_into(module, path)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.backward()
    module(torch.randn(4, 300)).sum().backward()
