"""DINOv2 (Oquab et al., "Learning Robust Visual Features without Supervision", TMLR 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from bench_core.models.chains.family import SplitState
from bench_core.models.chains.image_transformer import ImageTransformer
from bench_core.models.chains.spec import InputSpec


class Dinov2(ImageTransformer):
    """As ViT, with scaled residual branches; the mask token, for training alone, is left out."""

    name = "dinov2"
    configurations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "dinov2_small": {"hidden_size": 384, "num_attention_heads": 6},
        "dinov2_base": {},
        "dinov2_large": {
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
        },
        "dinov2_tiny": {
            "image_size": 32,
            "patch_size": 8,
            "hidden_size": 48,
            "num_hidden_layers": 6,
            "num_attention_heads": 4,
            "mlp_ratio": 2,
        },
    }
    layer_settings = (
        "hidden_act",
        "hidden_size",
        "layer_norm_eps",
        "layerscale_value",
        "mlp_ratio",
        "num_attention_heads",
        "qkv_bias",
        "use_swiglu_ffn",
    )
    layer_place = "encoder.layer.{}."
    old_names: ClassVar[Mapping[str, str]] = {
        r"\.attention\.attention\.query\.": ".attention.q_proj.",
        r"\.attention\.attention\.key\.": ".attention.k_proj.",
        r"\.attention\.attention\.value\.": ".attention.v_proj.",
        r"\.attention\.output\.dense\.": ".attention.o_proj.",
        r"\.mlp\.weights_out\.": ".mlp.down_proj.",
    }

    def configuration(self, **settings: Any) -> Any:
        """Return transformers' ``Dinov2Config``."""
        from transformers import Dinov2Config

        return Dinov2Config(**settings)

    def input(self, configuration: Any) -> InputSpec:
        """Return images of any size: the embeddings interpolate the positions."""
        return InputSpec("image", (configuration.num_channels, None, None))

    def embeddings(self, configuration: Any) -> nn.Module:
        """Return ``Dinov2Embeddings``."""
        from transformers.models.dinov2 import modeling_dinov2

        module: nn.Module = modeling_dinov2.Dinov2Embeddings(configuration)
        module.register_parameter("mask_token", None)
        return module

    def layer(self, configuration: Any) -> nn.Module:
        """Return a ``Dinov2Layer``."""
        from transformers.models.dinov2 import modeling_dinov2

        module: nn.Module = modeling_dinov2.Dinov2Layer(configuration)
        return module

    def initialise_weight(self, weight: torch.Tensor) -> None:
        """Initialise a weight with truncated normal values."""
        nn.init.trunc_normal_(weight, std=0.02)

    def split(self, configuration: Any, state: Mapping[str, torch.Tensor]) -> SplitState:
        """Cut the state dict; the library's classifier takes other features: there is no head."""
        found = super().split(configuration, _halved(state))
        return SplitState(found.blocks, None, found.unused)

    def reference(self, configuration: Any) -> nn.Module:
        """Return ``Dinov2Model``."""
        from transformers import Dinov2Model

        model: nn.Module = Dinov2Model(configuration)
        return model.eval()


def _halved(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a state dict whose gated layers are two matrices each, which were one in old files."""
    found = {}
    for name, tensor in state.items():
        if ".mlp.weights_in." in name:
            for new, half in zip(("gate_proj", "up_proj"), tensor.chunk(2), strict=True):
                found[name.replace("weights_in", new)] = half
        else:
            found[name] = tensor
    return found
