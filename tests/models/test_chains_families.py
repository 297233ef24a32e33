"""Every architecture as a chain: the library's own forward bit for bit, digests, state dicts."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from typing import Any

import pytest
import torch

from bench_core.errors import TensorMismatchError, TensorNotFoundError, UnknownNameError
from bench_core.models.chains import (
    BlockSpec,
    ChainSpec,
    block_module,
    chain,
    chain_names,
    family_of,
    initialised,
    run_chain,
    skeleton,
)
from bench_core.models.chains.resources import chain_resources, input_shapes

FAST = [
    "mobilenet_v2",
    "efficientnet_b0",
    "mlp_tiny",
    "resnet_tiny",
    "vit_tiny",
    "dinov2_tiny",
    "bert_tiny",
    "resnet18",
]
SLOW = [name for name in chain_names() if name not in FAST and not name.endswith("_tiny")]
TINY = [name for name in chain_names() if name.endswith("_tiny")]
N_CUTS = {
    "resnet18": 9,
    "mobilenet_v2": 19,
    "efficientnet_b0": 18,
    "resnet34": 16,
    "vit_b_16": 13,
    "vit_l_32": 25,
    "bert_base": 13,
}


def inputs_of(spec: ChainSpec, batch: int = 2) -> Any:
    torch.manual_seed(1)
    shape = [3 if i == 0 else size or 64 for i, size in enumerate(spec.input.shape)]
    if spec.input.kind != "tokens":
        shape = [size or 64 for size in spec.input.shape] if spec.input.kind == "vector" else shape
        return torch.randn(batch, *shape)
    mask = torch.ones(batch, 24, dtype=torch.int64)
    mask[-1, 10:] = 0
    return torch.randint(5, 1000, (batch, 24)), mask


@functools.cache
def reference(name: str) -> tuple[Any, Any]:
    owner = family_of(name)
    configuration = owner.configuration(**owner.configurations[name])
    torch.manual_seed(0)
    return configuration, owner.reference(configuration)


def modules_of(name: str, state: dict[str, torch.Tensor]) -> list[torch.nn.Module]:
    configuration, _ = reference(name)
    blocks = family_of(name).split(configuration, state).blocks
    return [block_module(s, t) for s, t in zip(chain(name).blocks, blocks, strict=True)]


def check_equal_to_the_library(name: str) -> None:
    _, model = reference(name)
    given = inputs_of(chain(name))
    with torch.inference_mode():
        found = run_chain(modules_of(name, model.state_dict()), given)
        assert torch.equal(found, family_of(name).reference_features(model, given))
    assert found.shape == (2, chain(name).feature_dim)


@pytest.mark.parametrize("name", dict.fromkeys(FAST + TINY))
def test_a_chain_computes_what_the_library_does(name: str) -> None:
    check_equal_to_the_library(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_a_large_chain_computes_what_the_library_does(name: str) -> None:
    check_equal_to_the_library(name)
    reference.cache_clear()


def test_tokens_without_padding_take_the_library_s_way_without_a_mask() -> None:
    _, model = reference("bert_tiny")
    ids, mask = inputs_of(chain("bert_tiny"))
    given = (ids, torch.ones_like(mask))
    with torch.inference_mode():
        found = run_chain(modules_of("bert_tiny", model.state_dict()), given)
        assert torch.equal(found, family_of("bert_tiny").reference_features(model, given))


@pytest.mark.parametrize("name", TINY)
def test_no_block_changes_its_input(name: str) -> None:
    _, model = reference(name)
    given = inputs_of(chain(name))
    for module in modules_of(name, model.state_dict()):
        tensors = given if isinstance(given, tuple) else (given,)
        before = [tensor.clone() for tensor in tensors]
        with torch.inference_mode():
            given = module(given)
        assert all(torch.equal(a, b) for a, b in zip(before, tensors, strict=True))


@pytest.mark.parametrize(("name", "count"), N_CUTS.items())
def test_cuts(name: str, count: int) -> None:
    spec = chain(name)
    assert len(spec.cuts) == count
    assert spec.cuts[0] == len(spec.blocks)
    assert list(spec.cuts) == sorted(set(spec.cuts), reverse=True)


def test_parameters_are_counted_as_published() -> None:
    def count(name: str, *shape: int) -> int:
        spec = chain(name)
        found = chain_resources(spec.blocks, input_shapes(spec.input.kind, shape))
        return sum(block.n_parameters for block in found)

    head = 1000
    assert count("resnet18", 3, 224, 224) + 512 * head + head == 11_689_512
    assert count("resnet152", 3, 224, 224) + 2048 * head + head == 60_192_808
    assert count("vit_l_32", 3, 224, 224) + 1024 * head + head == 306_535_400
    assert count("bert_base", 16) == 109_482_240


def test_output_sizes_are_the_published_ones() -> None:
    found = chain_resources(chain("resnet18").blocks, input_shapes("image", (3, 224, 224)))
    elements = [block.output_bytes // 4 for block in found]
    assert elements == [200704, 200704, 200704, 100352, 100352, 50176, 50176, 25088, 512]


@pytest.mark.parametrize("name", TINY)
def test_a_fresh_block_is_the_same_for_the_same_seed(name: str) -> None:
    state = torch.get_rng_state()
    for spec in chain(name).blocks:
        first, again, other = (initialised(spec, seed) for seed in (3, 3, 4))
        assert all(torch.equal(first[key], again[key]) for key in first)
        if any(tensor.ndim > 1 for tensor in first.values()):
            assert any(not torch.equal(first[key], other[key]) for key in first)
        assert all(bool(torch.isfinite(t).all()) for t in first.values() if t.is_floating_point())
    assert torch.equal(torch.get_rng_state(), state)


def test_fresh_values_are_distributed_as_the_library_s() -> None:
    for name in ("resnet_tiny", "vit_tiny", "bert_tiny"):
        configuration, model = reference(name)
        blocks = family_of(name).split(configuration, model.state_dict()).blocks
        for spec, theirs in zip(chain(name).blocks, blocks, strict=True):
            ours = initialised(spec, 0)
            for key, tensor in theirs.items():
                if tensor.ndim > 1 and tensor.numel() > 2000:
                    assert 0.8 < float(ours[key].std() / tensor.std()) < 1.25, (name, key)
                elif tensor.ndim == 1:
                    assert torch.equal(ours[key], tensor), (name, key)


def test_equal_layers_have_one_digest_wherever_they_stand() -> None:
    blocks = chain("vit_b_16").blocks
    assert len({block.digest for block in blocks[1:-1]}) == 1
    blocks = chain("resnet50").blocks
    assert blocks[2].digest == blocks[3].digest != blocks[4].digest


def test_digests_are_the_same_in_another_process() -> None:
    script = (
        "from bench_core.models.chains import chain\n"
        f"for name in {TINY!r}: print(*(b.digest.hex() for b in chain(name).blocks))"
    )
    found = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    here = [" ".join(block.digest.hex() for block in chain(name).blocks) for name in TINY]
    assert found.stdout.splitlines() == here


def test_a_digest_is_known() -> None:
    """Stored models are found again only as long as this stays."""
    spec = BlockSpec.of("mlp.dense", inputs=64, outputs=32)
    assert spec.digest.hex() == "f67477c571f212437007ea7d47270bdb"
    assert BlockSpec.from_json(spec.as_json()) == spec


def test_settings_of_equal_value_are_one_architecture() -> None:
    whole, decimal = (BlockSpec.of("vit.layer", scale=scale, eps=1e-5) for scale in (1, 1.0))
    assert whole == decimal
    assert whole.digest == decimal.digest
    assert BlockSpec.of("vit.layer", scale=1.5, eps=1e-5).digest != whole.digest
    # A switch is no number, although Python compares it as one.
    assert BlockSpec.of("vit.layer", scale=True, eps=1e-5).digest != whole.digest


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("resnet_tiny", "ResNetForImageClassification"),
        ("mobilenet_tiny", "MobileNetV2ForImageClassification"),
        ("efficientnet_tiny", "EfficientNetForImageClassification"),
        ("vit_tiny", "ViTForImageClassification"),
        ("bert_tiny", "BertForSequenceClassification"),
    ],
)
def test_a_classifier_is_cut_into_features_and_head(name: str, model: str) -> None:
    import transformers

    owner = family_of(name)
    configuration = owner.configuration(**owner.configurations[name], num_labels=7)
    torch.manual_seed(0)
    classifier = getattr(transformers, model)(configuration).eval()
    found = owner.split(configuration, classifier.state_dict())
    modules = [block_module(s, t) for s, t in zip(chain(name).blocks, found.blocks, strict=True)]
    given = inputs_of(chain(name))
    ids, mask = given if isinstance(given, tuple) else (given, None)
    with torch.inference_mode():
        logits = classifier(ids) if mask is None else classifier(ids, attention_mask=mask)
        assert found.head is not None
        weight, bias = found.head
        ours = torch.nn.functional.linear(run_chain(modules, given), weight, bias)
    assert torch.equal(ours, logits.logits)
    assert found.unused == ()


def test_checkpoints_of_older_versions_of_the_library_are_understood() -> None:
    configuration, model = reference("vit_tiny")
    owner = family_of("vit_tiny")
    old = {}
    names = {"q_proj": "attention.query", "k_proj": "attention.key", "v_proj": "attention.value"}
    names |= {"o_proj": "output.dense"}
    for name, tensor in model.state_dict().items():
        for new, before in names.items():
            name = name.replace(f"attention.{new}", f"attention.{before}")
        name = name.replace("mlp.fc1", "intermediate.dense").replace("mlp.fc2", "output.dense")
        old[name.replace("layers.", "encoder.layer.")] = tensor
    assert old.keys() != model.state_dict().keys()
    for ours, theirs in zip(
        owner.split(configuration, old).blocks,
        owner.split(configuration, model.state_dict()).blocks,
        strict=True,
    ):
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


@pytest.mark.parametrize("name", TINY)
def test_a_missing_tensor_is_named(name: str) -> None:
    configuration, model = reference(name)
    state = dict(model.state_dict())
    missing = next(key for key in reversed(state) if key.endswith("weight"))
    del state[missing]
    with pytest.raises(TensorNotFoundError, match=missing.replace(".", r"\.")):
        family_of(name).split(configuration, state)


def test_tensors_of_another_block_are_refused() -> None:
    first, second = chain("mlp_tiny").blocks[:2]
    with pytest.raises(TensorMismatchError, match=r"mlp\.dense"):
        block_module(first, initialised(second, 0))


def test_skeletons_take_no_memory() -> None:
    for spec in chain("bert_base").blocks:
        assert all(tensor.is_meta for tensor in skeleton(spec).state_dict().values())


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'resnet18'"):
        chain("resnet19")
