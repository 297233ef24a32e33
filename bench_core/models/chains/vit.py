"""Vision transformers (Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from torch import nn

from bench_core.models.chains.image_transformer import ImageTransformer

_LARGE: Final = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
}


class ViT(ImageTransformer):
    """Embeddings of patches, the layers, and the class token behind the last norm."""

    name = "vit"
    configurations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "vit_b_16": {},
        "vit_b_32": {"patch_size": 32},
        "vit_l_16": _LARGE,
        "vit_l_32": {**_LARGE, "patch_size": 32},
        "vit_tiny": {
            "image_size": 32,
            "patch_size": 8,
            "hidden_size": 48,
            "num_hidden_layers": 8,
            "num_attention_heads": 4,
            "intermediate_size": 96,
        },
    }
    layer_settings = (
        "hidden_act",
        "hidden_size",
        "intermediate_size",
        "layer_norm_eps",
        "num_attention_heads",
        "qkv_bias",
    )
    layer_place = "layers.{}."
    old_names: ClassVar[Mapping[str, str]] = {
        r"encoder\.layer\.(\d+)\.attention\.attention\.(query|key|value)": (
            r"encoder.layer.\1.attention.\2"
        ),
        r"encoder\.layer\.(\d+)\.attention\.query\.": r"layers.\1.attention.q_proj.",
        r"encoder\.layer\.(\d+)\.attention\.key\.": r"layers.\1.attention.k_proj.",
        r"encoder\.layer\.(\d+)\.attention\.value\.": r"layers.\1.attention.v_proj.",
        r"encoder\.layer\.(\d+)\.attention\.output\.dense": r"layers.\1.attention.o_proj",
        r"encoder\.layer\.(\d+)\.intermediate\.dense": r"layers.\1.mlp.fc1",
        r"encoder\.layer\.(\d+)\.output\.dense": r"layers.\1.mlp.fc2",
        r"encoder\.layer\.(\d+)\.": r"layers.\1.",
    }

    def configuration(self, **settings: Any) -> Any:
        """Return transformers' ``ViTConfig``."""
        from transformers import ViTConfig

        return ViTConfig(**settings)

    def embeddings(self, configuration: Any) -> nn.Module:
        """Return ``ViTEmbeddings``."""
        from transformers.models.vit import modeling_vit

        module: nn.Module = modeling_vit.ViTEmbeddings(configuration)
        return module

    def layer(self, configuration: Any) -> nn.Module:
        """Return a ``ViTLayer``."""
        from transformers.models.vit import modeling_vit

        module: nn.Module = modeling_vit.ViTLayer(configuration)
        return module

    def reference(self, configuration: Any) -> nn.Module:
        """Return ``ViTModel`` without its pooler, which classifiers do not use either."""
        from transformers import ViTModel

        model: nn.Module = ViTModel(configuration, add_pooling_layer=False)
        return model.eval()
