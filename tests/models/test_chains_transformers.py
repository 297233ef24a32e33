"""What is particular to transformers: masks, sizes, cuts, settings, names in older files."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from bench_core.errors import TensorNotFoundError, UnsupportedError
from bench_core.models.chains import (
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

TINY = ["vit_tiny", "dinov2_tiny", "bert_tiny"]
PADDINGS = {
    "none": (slice(0, 0), slice(0, 0)),
    "right": (slice(1, 3), slice(10, None)),
    "left": (slice(0, 2), slice(None, 7)),
    "hole": (slice(2, 3), slice(4, 9)),
    "whole text": (slice(3, 4), slice(None)),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "vit": {"qkv_bias": False, "hidden_act": "relu", "layer_norm_eps": 0.1, "patch_size": 16},
    "dinov2": {"use_swiglu_ffn": True, "qkv_bias": False, "layerscale_value": 0.5},
    "bert": {"hidden_act": "gelu_new", "pad_token_id": None, "type_vocab_size": 1},
}


def configuration_of(name: str, **settings: Any) -> Any:
    owner = family_of(name)
    return owner.configuration(**{**owner.configurations[name], **settings})


@functools.cache
def tiny(name: str) -> tuple[torch.nn.Module, list[torch.nn.Module]]:
    """Return the library's model of an architecture, and the blocks with its parameters."""
    return model_and_blocks(name, configuration_of(name))


def model_and_blocks(
    name: str, configuration: Any
) -> tuple[torch.nn.Module, list[torch.nn.Module]]:
    owner = family_of(name)
    torch.manual_seed(0)
    model = owner.reference(configuration)
    spec = owner.chain(configuration, "mine")
    blocks = owner.split(configuration, model.state_dict()).blocks
    return model, [block_module(s, t) for s, t in zip(spec.blocks, blocks, strict=True)]


def random_inputs(spec: ChainSpec, batch: int = 2, length: int = 24) -> Any:
    torch.manual_seed(1)
    if spec.input.kind == "tokens":
        ids = torch.randint(5, 1000, (batch, length))
        return ids, torch.ones_like(ids)
    channels, height, width = (size or 32 for size in spec.input.shape)
    return torch.randn(batch, channels, height, width)


def check_equal(name: str, models: tuple[Any, list[torch.nn.Module]], given: Any) -> None:
    model, blocks = models
    with torch.inference_mode():
        expected = family_of(name).reference_features(model, given)
        assert equal_bytes(run_chain(blocks, given), expected)


@pytest.mark.parametrize("padding", PADDINGS)
def test_padded_texts_are_computed_as_the_library_does(padding: str) -> None:
    ids, mask = random_inputs(chain("bert_tiny"), batch=4)
    mask[PADDINGS[padding]] = 0
    check_equal("bert_tiny", tiny("bert_tiny"), (ids, mask))


@pytest.mark.parametrize(("batch", "length"), [(1, 1), (1, 24), (3, 64), (33, 7), (2, 128)])
def test_texts_of_any_length_and_number(batch: int, length: int) -> None:
    given = random_inputs(chain("bert_tiny"), batch, length)
    check_equal("bert_tiny", tiny("bert_tiny"), given)


def test_padding_changes_the_features() -> None:
    _, blocks = tiny("bert_tiny")
    ids, mask = random_inputs(chain("bert_tiny"))
    padded = mask.clone()
    padded[1, 10:] = 0
    with torch.inference_mode():
        full, part = run_chain(blocks, (ids, mask)), run_chain(blocks, (ids, padded))
    assert not torch.equal(full[1], part[1])


def test_the_mask_goes_along_as_one_byte_a_token() -> None:
    _, blocks = tiny("bert_tiny")
    ids, mask = random_inputs(chain("bert_tiny"), batch=4)
    mask[PADDINGS["right"]] = 0
    given: Any = (ids, mask)
    with torch.inference_mode():
        for block in blocks[:-1]:
            given = block(given)
            assert given[1].dtype == torch.bool
            assert torch.equal(given[1], mask.bool())


def test_texts_longer_than_the_positions_are_refused() -> None:
    _, blocks = tiny("bert_tiny")
    with pytest.raises(UnsupportedError, match="129 tokens, the model has positions for 128"):
        blocks[0](random_inputs(chain("bert_tiny"), length=129))


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (40, 24), (45, 37), (8, 8)])
def test_dinov2_takes_images_of_any_size(size: tuple[int, int]) -> None:
    check_equal("dinov2_tiny", tiny("dinov2_tiny"), torch.randn(3, 3, *size))


def test_only_models_that_interpolate_positions_take_any_size() -> None:
    assert chain("dinov2_base").input.shape == (3, None, None)
    assert chain("vit_b_16").input.shape == (3, 224, 224)


@pytest.mark.parametrize("batch", [1, 2, 33])
@pytest.mark.parametrize("name", ["vit_tiny", "dinov2_tiny"])
def test_batches_of_any_size(name: str, batch: int) -> None:
    check_equal(name, tiny(name), random_inputs(chain(name), batch))


@pytest.mark.parametrize("name", TINY)
def test_settings_of_a_configuration_are_computed(name: str) -> None:
    configuration = configuration_of(name, **SETTINGS[family_of(name).name])
    spec = family_of(name).chain(configuration, "mine")
    assert spec.blocks[1].digest != chain(name).blocks[1].digest
    check_equal(name, model_and_blocks(name, configuration), random_inputs(spec))


@pytest.mark.parametrize("name", TINY)
def test_what_only_training_sees_is_no_part_of_a_block(name: str) -> None:
    settings = {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.3}
    settings["initializer_range"] = 0.5
    found = family_of(name).chain(configuration_of(name, **settings), name)
    assert found == chain(name)


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [("vit_b_16", 12, 1), ("vit_l_32", 24, 1), ("dinov2_base", 12, 1), ("bert_base", 13, 2)],
)
def test_cuts_are_the_published_ones(name: str, first: int, last: int) -> None:
    spec = chain(name)
    n_layers = sum(block.kind.endswith(".layer") for block in spec.blocks)
    assert spec.cuts == (n_layers + 2, *range(first, last - 1, -1))
    assert len(spec.cuts) == n_layers + 1


def test_the_fewest_blocks_that_are_re_trained() -> None:
    last_layer_and_norm = [block.kind for block in chain("vit_tiny").blocks[-2:]]
    assert last_layer_and_norm == ["vit.layer", "vit.class_token"]
    assert chain("vit_tiny").cuts[1] == len(chain("vit_tiny").blocks) - 2
    assert chain("bert_tiny").blocks[chain("bert_tiny").cuts[1]].kind == "bert.pooler"


@pytest.mark.parametrize("name", TINY)
def test_layers_are_equal_and_unlike_the_rest(name: str) -> None:
    first, *layers, last = (block.digest for block in chain(name).blocks)
    assert len(set(layers)) == 1
    assert len({first, layers[0], last}) == 3


@pytest.mark.parametrize(
    ("name", "cls", "settings"),
    [
        ("vit_tiny", "ViTModel", {}),
        ("vit_tiny", "ViTForImageClassification", {}),
        ("dinov2_tiny", "Dinov2Model", {}),
        ("dinov2_tiny", "Dinov2Model", {"use_swiglu_ffn": True}),
        ("dinov2_tiny", "Dinov2Model", {"use_mask_token": False}),
        ("dinov2_tiny", "Dinov2ForImageClassification", {}),
        ("bert_tiny", "BertModel", {}),
        ("bert_tiny", "BertForSequenceClassification", {}),
        ("bert_tiny", "BertForPreTraining", {}),
    ],
)
def test_files_that_the_library_writes(
    tmp_path: Path, name: str, cls: str, settings: dict[str, Any]
) -> None:
    """The library writes the names of its older versions, and what it writes is shared."""
    import transformers

    configuration = configuration_of(name, **settings)
    model = getattr(transformers, cls)(configuration).eval()
    model.save_pretrained(tmp_path)
    owner = family_of(name)
    read = owner.split(configuration, load_file(tmp_path / "model.safetensors"))
    held = owner.split(configuration, model.state_dict())
    for ours, theirs in zip(read.blocks, held.blocks, strict=True):
        assert ours.keys() == theirs.keys()
        assert all(equal_bytes(ours[key], theirs[key]) for key in theirs)
    classifies = cls in ("ViTForImageClassification", "BertForSequenceClassification")
    assert (read.head is not None) == classifies


def test_older_names_are_what_the_library_writes(tmp_path: Path) -> None:
    """Otherwise the test before this one would test nothing."""
    for name in ("vit_tiny", "dinov2_tiny"):
        model, _ = tiny(name)
        model.save_pretrained(tmp_path)  # type: ignore[operator]
        assert load_file(tmp_path / "model.safetensors").keys() != model.state_dict().keys()


def test_a_model_without_a_pooler_is_refused() -> None:
    from transformers import BertForMaskedLM

    configuration = configuration_of("bert_tiny")
    state = BertForMaskedLM(configuration).state_dict()
    with pytest.raises(TensorNotFoundError, match=r"bert\.pooler\.dense\.weight"):
        family("bert").split(configuration, state)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("bert", {"is_decoder": True}, "mine: a decoder"),
        ("bert", {"add_cross_attention": True}, "mine: a decoder"),
        ("bert", {"position_embedding_type": "relative_key"}, "'relative_key'"),
        ("bert", {"hidden_act": "gelo"}, "'gelo'; did you mean 'gelu'"),
        ("bert", {"hidden_size": 50}, "hidden_size 50 cannot be shared by 12"),
        ("vit", {"hidden_act": "gelo"}, "'gelo'; did you mean 'gelu'"),
        ("vit", {"hidden_size": 50}, "hidden_size 50 cannot be shared by 12"),
        ("vit", {"image_size": [224, 192]}, "only squares"),
        ("vit", {"image_size": 8}, "no patch of 16 pixels in images of 8"),
        ("dinov2", {"patch_size": [14, 7]}, "only squares"),
    ],
)
def test_what_no_block_computes_is_refused(
    name: str, settings: dict[str, Any], message: str
) -> None:
    owner = family(name)
    configuration = type(owner.configuration()).from_dict(settings)
    with pytest.raises(UnsupportedError, match=message):
        owner.chain(configuration, "mine")


@pytest.mark.parametrize("name", TINY)
def test_a_block_has_no_buffers_that_are_not_stored(name: str) -> None:
    for spec in chain(name).blocks:
        module = skeleton(spec)
        held = {key for key, _ in [*module.named_parameters(), *module.named_buffers()]}
        assert held == set(module.state_dict())


def test_fresh_dinov2_blocks_are_the_library_s() -> None:
    configuration = configuration_of("dinov2_tiny", layerscale_value=0.25)
    model = family("dinov2").reference(configuration)
    blocks = family("dinov2").split(configuration, model.state_dict()).blocks
    spec = family("dinov2").chain(configuration, "mine")
    for block, theirs in zip(spec.blocks, blocks, strict=True):
        ours = initialised(block, 0)
        for key, tensor in theirs.items():
            if tensor.ndim > 1 and tensor.numel() > 500:
                assert 0.8 < float(ours[key].std() / tensor.std()) < 1.25, key
            elif tensor.ndim == 1:
                assert torch.equal(ours[key], tensor), key


def test_the_word_of_the_padding_is_zero_in_fresh_embeddings() -> None:
    words = initialised(chain("bert_tiny").blocks[0], 0)["word_embeddings.weight"]
    assert not words[0].any()
    assert words[1].any()
