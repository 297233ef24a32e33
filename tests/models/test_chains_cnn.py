"""What is particular to convolutional networks: sizes of images, settings, widths, statistics."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from bench_core.errors import TensorMismatchError, UnsupportedError
from bench_core.models.architectures import build_empty
from bench_core.models.chains import (
    BlockSpec,
    ChainSpec,
    block_module,
    chain,
    family,
    family_of,
    initialised,
    run_chain,
    skeleton,
)
from bench_core.models.digests import equal_bytes

TINY = ["resnet_tiny", "mobilenet_tiny", "efficientnet_tiny"]
N_CUTS = {
    "resnet18": 9,
    "resnet34": 16,
    "resnet50": 16,
    "resnet101": 34,
    "resnet152": 51,
    "resnet_tiny": 9,
    "mobilenet_v2": 19,
    "mobilenet_tiny": 19,
    "efficientnet_b0": 18,
    "efficientnet_b4": 34,
    "efficientnet_b7": 57,
}
N_PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "mobilenet_v2": 3_504_872,
    "efficientnet_b0": 5_288_548,
    "efficientnet_b4": 19_341_616,
    "efficientnet_b7": 66_347_960,
}
"""With a head of 1000 classes, as torchvision's documentation has them."""
FAST = ["resnet18", "mobilenet_v2", "efficientnet_b0"]
SLOW = ["resnet34", "resnet50", "resnet101", "resnet152", "efficientnet_b4", "efficientnet_b7"]
SIZES = [
    *((name, size) for name in TINY for size in [(32, 32), (64, 64), (45, 37), (32, 96)]),
    *((name, size) for name in TINY[:2] for size in [(40, 24), (1, 1)]),
]
"""EfficientNet's fifth kernels do not fit into what becomes of smaller images."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sharing such small tensors among threads takes longer than to compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def configuration_of(name: str, **changed: Any) -> Any:
    owner = family_of(name)
    return owner.configuration(**{**owner.configurations[name], **changed})


@functools.cache
def tiny(name: str) -> tuple[Any, list[torch.nn.Module]]:
    return model_and_blocks(name, configuration_of(name))


def model_and_blocks(name: str, configuration: Any) -> tuple[Any, list[torch.nn.Module]]:
    """Return the library's model of a configuration, and the blocks with its parameters."""
    owner = family_of(name)
    model = owner.reference(configuration)
    enliven(name, model)
    spec = owner.chain(configuration, "mine")
    blocks = owner.split(configuration, model.state_dict()).blocks
    return model, [block_module(s, t) for s, t in zip(spec.blocks, blocks, strict=True)]


def enliven(name: str, model: torch.nn.Module) -> None:
    """Give a model parameters whose features differ from image to image.

    With the library's first values those of a deep MobileNetV2 or EfficientNet are all zero, or
    nearly, whatever is computed.
    """
    torch.manual_seed(0)
    family_of(name).initialise(model)
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            torch.nn.init.uniform_(layer.weight, 0.8, 1.6)
            torch.nn.init.normal_(layer.bias, 0.0, 0.2)
            torch.nn.init.normal_(layer.running_mean, 0.0, 0.2)
            torch.nn.init.uniform_(layer.running_var, 0.4, 1.2)


def images(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def check_equal(name: str, models: tuple[Any, list[torch.nn.Module]], inputs: Any) -> None:
    model, blocks = models
    with torch.inference_mode():
        expected = family_of(name).reference_features(model, inputs)
        assert equal_bytes(run_chain(blocks, inputs), expected)
    assert expected.shape == (len(inputs), blocks_width(blocks))
    assert bool(torch.isfinite(expected).all())
    assert len(inputs) == 1 or not torch.allclose(expected[0], expected[-1], rtol=1e-3)


def blocks_width(blocks: list[torch.nn.Module]) -> int:
    return [m for m in blocks[-1].modules() if isinstance(m, torch.nn.BatchNorm2d)][-1].num_features


@pytest.mark.parametrize("name", FAST)
def test_features_are_the_library_s(name: str) -> None:
    check_equal(name, model_and_blocks(name, configuration_of(name)), images(2, 3, 64, 64))


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_features_of_large_networks_are_the_library_s(name: str) -> None:
    check_equal(name, model_and_blocks(name, configuration_of(name)), images(2, 3, 64, 64))


@pytest.mark.parametrize(("name", "size"), SIZES)
def test_images_of_any_size(name: str, size: tuple[int, int]) -> None:
    check_equal(name, tiny(name), images(3, 3, *size))


@pytest.mark.parametrize("batch", [1, 33])
@pytest.mark.parametrize("name", TINY)
def test_batches_of_any_size(name: str, batch: int) -> None:
    check_equal(name, tiny(name), images(batch, 3, 32, 32))


@given(
    depths=st.lists(st.integers(1, 3), min_size=1, max_size=4),
    widths=st.lists(st.sampled_from([8, 12, 16]), min_size=4, max_size=4),
    layer_type=st.sampled_from(["basic", "bottleneck"]),
    channels=st.sampled_from([1, 3]),
    halves=st.tuples(st.booleans(), st.booleans()),
)
@settings(max_examples=30, deadline=None)
def test_any_resnet(
    depths: list[int],
    widths: list[int],
    layer_type: str,
    channels: int,
    halves: tuple[bool, bool],
) -> None:
    configuration = family("resnet").configuration(
        depths=depths,
        hidden_sizes=widths[: len(depths)],
        layer_type=layer_type,
        num_channels=channels,
        embedding_size=8,
        downsample_in_first_stage=halves[0],
        downsample_in_bottleneck=halves[1],
    )
    check_equal(
        "resnet_tiny", model_and_blocks("resnet_tiny", configuration), images(2, channels, 40, 33)
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"tf_padding": False},
        {"output_stride": 8},
        {"output_stride": 16, "tf_padding": False},
        {"expand_ratio": 2.5},
        {"depth_divisible_by": 4, "min_depth": 4, "depth_multiplier": 0.35},
        {"finegrained_output": False},
        {"num_channels": 1, "layer_norm_eps": 0.1},
    ],
)
def test_any_mobilenet(changed: dict[str, Any]) -> None:
    configuration = configuration_of("mobilenet_tiny", **changed)
    given_images = images(2, changed.get("num_channels", 3), 70, 45)
    check_equal("mobilenet_tiny", model_and_blocks("mobilenet_tiny", configuration), given_images)


@pytest.mark.parametrize(
    "changed",
    [
        {"hidden_act": "silu"},
        {"squeeze_expansion_ratio": 0.5, "batch_norm_eps": 0.1},
        {"depthwise_padding": [1, 3, 4]},
        {"num_channels": 1},
        {
            "kernel_sizes": [5, 3],
            "in_channels": [32, 48],
            "out_channels": [48, 64],
            "strides": [2, 1],
            "num_block_repeats": [3, 5],
            "expand_ratios": [4, 1],
        },
    ],
)
def test_any_efficientnet(changed: dict[str, Any]) -> None:
    configuration = configuration_of("efficientnet_tiny", **changed)
    given_images = images(2, changed.get("num_channels", 3), 70, 45)
    models = model_and_blocks("efficientnet_tiny", configuration)
    check_equal("efficientnet_tiny", models, given_images)


@pytest.mark.parametrize(("name", "count"), N_CUTS.items())
def test_every_layer_but_the_stem_can_be_re_trained(name: str, count: int) -> None:
    spec = chain(name)
    assert (spec.cuts[0], spec.cuts[-1]) == (len(spec.blocks), 1)
    assert list(spec.cuts) == sorted(set(spec.cuts), reverse=True)
    assert len(spec.cuts) == count


@pytest.mark.parametrize("name", ["resnet34", "resnet50"])
def test_two_layers_alone_are_never_re_trained_where_the_published_studies_do_not(
    name: str,
) -> None:
    assert chain(name).cuts == (17, 16, *range(14, 0, -1))


@pytest.mark.parametrize("name", sorted(N_CUTS.keys() - {"resnet34", "resnet50"}))
def test_every_other_number_of_blocks_can_be_re_trained(name: str) -> None:
    spec = chain(name)
    assert spec.cuts == tuple(range(len(spec.blocks), 0, -1))


@pytest.mark.parametrize(("name", "count"), N_PARAMETERS.items())
def test_parameters_are_as_many_as_published(name: str, count: int) -> None:
    spec = chain(name)
    features = sum(p.numel() for block in spec.blocks for p in skeleton(block).parameters())
    assert features + 1000 * spec.feature_dim + 1000 == count


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet152"])
def test_classifiers_by_name_have_the_chain_s_blocks(name: str) -> None:
    state = build_empty(name, "meta").state_dict()
    found = family("resnet").split(configuration_of(name), state)
    for spec, tensors in zip(chain(name).blocks, found.blocks, strict=True):
        assert block_module(spec, tensors).state_dict().keys() == tensors.keys()
    assert found.head is not None
    assert found.head[0].shape == (1000, chain(name).feature_dim)
    assert found.unused == ()


@pytest.mark.parametrize("name", TINY)
def test_shapes_are_known_without_memory(name: str) -> None:
    with torch.device("meta"):
        inputs = torch.empty(5, 3, 224, 224)
    features = run_chain([skeleton(block) for block in chain(name).blocks], inputs)
    assert features.is_meta
    assert features.shape == (5, chain(name).feature_dim)


@pytest.mark.parametrize("name", TINY)
def test_statistics_of_norms_are_tensors_of_their_block(name: str) -> None:
    for spec in chain(name).blocks:
        module = skeleton(spec)
        held = {key for key, _ in [*module.named_parameters(), *module.named_buffers()]}
        assert held == set(module.state_dict())
        for part in ("running_mean", "running_var", "num_batches_tracked"):
            assert any(key.endswith(part) for key in held), (spec.kind, part)


@pytest.mark.parametrize("name", TINY)
def test_norms_learn_their_statistics_as_the_library_s_do(name: str) -> None:
    model, _ = tiny(name)
    theirs = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    blocks = [skeleton(spec) for spec in chain(name).blocks]
    ours = [m for b in blocks for m in b.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    found = sorted((m.num_features, m.eps, m.momentum) for m in ours)
    assert found == sorted((m.num_features, m.eps, m.momentum) for m in theirs)


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [("resnet34", 1, 2), ("resnet152", 13, 30), ("mobilenet_v2", 8, 9), ("efficientnet_b4", 4, 5)],
)
def test_equal_layers_of_a_stage_have_one_digest(name: str, first: int, second: int) -> None:
    blocks = chain(name).blocks
    assert blocks[first].digest == blocks[second].digest
    assert len({block.digest for block in blocks}) < len(blocks)


def test_a_layer_of_a_deeper_network_is_the_same_layer() -> None:
    assert chain("resnet18").blocks[:3] == chain("resnet34").blocks[:3]
    shallow, deep = (chain(name).blocks[-1].digest for name in ("resnet50", "resnet152"))
    assert shallow == deep


@pytest.mark.parametrize("name", TINY)
def test_blocks_that_compute_otherwise_have_other_digests(name: str) -> None:
    for spec in chain(name).blocks:
        settings_of: dict[str, Any] = dict(spec.settings)
        for key, value in settings_of.items():
            other = not value if isinstance(value, bool) else value + 1
            changed = BlockSpec.of(spec.kind, **{**settings_of, key: other})
            assert changed.digest != spec.digest


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("mobilenet_v2", {"expand_ratio": 6, "depth_multiplier": 1}),
        ("mobilenet_v2", {"classifier_dropout_prob": 0.1, "image_size": 96, "num_labels": 5}),
        ("mobilenet_v2", {"min_depth": 16, "finegrained_output": False}),
        ("efficientnet_b0", {"drop_connect_rate": 0.5, "dropout_rate": 0.1, "image_size": 32}),
        ("efficientnet_b0", {"hidden_act": "silu", "depthwise_padding": [0, 2, 4]}),
        ("resnet50", {"hidden_sizes": (256, 512, 1024, 2048), "num_labels": 5}),
        ("resnet18", {"downsample_in_bottleneck": True}),
    ],
)
def test_settings_that_change_nothing_change_no_digest(name: str, changed: dict[str, Any]) -> None:
    found = family_of(name).chain(configuration_of(name, **changed), name)
    assert [block.digest for block in found.blocks] == [b.digest for b in chain(name).blocks]


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("resnet50", {"downsample_in_bottleneck": True}),
        ("resnet18", {"downsample_in_first_stage": True}),
        ("mobilenet_v2", {"tf_padding": False}),
        ("mobilenet_v2", {"output_stride": 16}),
        ("mobilenet_v2", {"expand_ratio": 4.0}),
        ("efficientnet_b0", {"depthwise_padding": [1]}),
        ("efficientnet_b0", {"squeeze_expansion_ratio": 0.5}),
    ],
)
def test_settings_that_change_what_is_computed_change_digests(
    name: str, changed: dict[str, Any]
) -> None:
    found = family_of(name).chain(configuration_of(name, **changed), name)
    assert [block.digest for block in found.blocks] != [b.digest for b in chain(name).blocks]


@pytest.mark.parametrize(
    ("name", "changed", "message"),
    [
        ("resnet", {"hidden_act": "gelu"}, "mine: activation 'gelu'"),
        ("resnet", {"depths": [2, 2]}, r"mine: depths \[2, 2\] for hidden_sizes"),
        ("resnet", {"depths": [2, 0, 2, 2]}, "at least one, for each"),
        ("resnet", {"depths": [], "hidden_sizes": []}, "at least one, for each"),
        ("mobilenet_v2", {"hidden_act": "relu"}, "mine: hidden_act 'relu'"),
        ("mobilenet_v2", {"first_layer_is_expansion": False}, "first_layer_is_expansion False"),
        ("efficientnet", {"hidden_act": "relu"}, "mine: hidden_act 'relu'"),
        ("efficientnet", {"pooling_type": "max"}, "pooling_type 'max'"),
        ("efficientnet", {"hidden_dim": 1280}, "mine: hidden_dim 1280, expected 2560"),
    ],
)
def test_what_no_block_computes_is_refused(
    name: str, changed: dict[str, Any], message: str
) -> None:
    owner = family(name)
    configuration = type(owner.configuration()).from_dict(changed)
    with pytest.raises(UnsupportedError, match=message):
        owner.chain(configuration, "mine")


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("resnet_tiny", "ResNetModel"),
        ("resnet_tiny", "ResNetForImageClassification"),
        ("mobilenet_tiny", "MobileNetV2Model"),
        ("mobilenet_tiny", "MobileNetV2ForImageClassification"),
        ("efficientnet_tiny", "EfficientNetModel"),
        ("efficientnet_tiny", "EfficientNetForImageClassification"),
    ],
)
def test_folders_that_the_library_writes(tmp_path: Path, name: str, cls: str) -> None:
    """Configuration and tensors, as they are read by who has no more than the folder."""
    import transformers

    model = getattr(transformers, cls)(configuration_of(name, num_labels=7)).eval()
    enliven(name, model)
    model.save_pretrained(tmp_path)
    owner = family_of(name)
    configuration = transformers.AutoConfig.from_pretrained(tmp_path)
    assert owner.chain(configuration, name) == chain(name)
    # Convolutions give other bits for weights that do not start at a multiple of 16 bytes, as in
    # the file they need not.
    state = {key: t.clone() for key, t in load_file(tmp_path / "model.safetensors").items()}
    found = owner.split(configuration, state)
    blocks = [block_module(s, t) for s, t in zip(chain(name).blocks, found.blocks, strict=True)]
    features = model if cls.endswith("Model") else model.base_model
    check_equal(name, (features.eval(), blocks), images(2, 3, 32, 32))
    assert found.unused == ()
    assert (found.head is None) == cls.endswith("Model")


@pytest.mark.parametrize("name", TINY)
def test_tensors_of_another_width_are_refused(name: str) -> None:
    spec = chain(name).blocks[0]
    wider = BlockSpec.of(spec.kind, **{**dict(spec.settings), "outputs": spec["outputs"] + 1})
    with pytest.raises(TensorMismatchError, match=spec.kind.replace(".", r"\.")):
        block_module(spec, initialised(wider, 0))


@pytest.mark.parametrize("name", TINY)
def test_fresh_chains_tell_images_apart(name: str) -> None:
    """With the library's own first values of some families all features would be zero."""
    spec: ChainSpec = chain(name)
    blocks = [block_module(block, initialised(block, i)) for i, block in enumerate(spec.blocks)]
    with torch.inference_mode():
        features = run_chain(blocks, images(8, 3, 32, 32))
    assert bool((features.std(0) > 1e-3 * features.abs().mean()).float().mean() > 0.5)


def test_fresh_residual_layers_are_the_library_s() -> None:
    model = family("resnet").reference(configuration_of("resnet18"))
    theirs = family("resnet").split(configuration_of("resnet18"), model.state_dict()).blocks
    for spec, library in zip(chain("resnet18").blocks, theirs, strict=True):
        ours = initialised(spec, 0)
        for key, tensor in library.items():
            if tensor.ndim > 1:
                assert float(ours[key].std() / tensor.std()) == pytest.approx(1, abs=0.05), key
            else:
                assert torch.equal(ours[key], tensor), key
