"""EfficientNet (Tan and Le, "Rethinking Model Scaling for CNNs", ICML 2019) as a chain."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from bench_core.errors import UnsupportedError
from bench_core.models.chains.convolutional import Convolutional, sizes
from bench_core.models.chains.cutting import Places, cut
from bench_core.models.chains.family import SplitState
from bench_core.models.chains.spec import BlockSpec, ChainSpec, InputSpec


class EfficientNet(Convolutional):
    """Stem, a block for each mobile inverted bottleneck, last convolution and pool.

    The transformers library has the first version alone. In the place of the published studies'
    EfficientNetV2-S (21.5 million parameters with its classifier) and V2-L (118.5 million) stand
    `efficientnet_b4` (19.3) and `efficientnet_b7` (66.3), the nearest in size. They have 34 and 57
    cuts, not 42 and 81, so that the draws of their sets are others than the published ones.
    """

    name = "efficientnet"
    library = "EfficientNet"
    configurations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "efficientnet_b0": {"width_coefficient": 1.0, "depth_coefficient": 1.0, "hidden_dim": 1280},
        "efficientnet_b4": {"width_coefficient": 1.4, "depth_coefficient": 1.8, "hidden_dim": 1792},
        "efficientnet_b7": {"width_coefficient": 2.0, "depth_coefficient": 3.1, "hidden_dim": 2560},
        "efficientnet_tiny": {
            "width_coefficient": 0.25,
            "depth_coefficient": 0.5,
            "hidden_dim": 320,
        },
    }

    def chain(self, configuration: Any, architecture: str) -> ChainSpec:
        """Return the chain.

        Raises:
            UnsupportedError: another activation than swish, another pooling than the mean, or a
                last convolution of another width than the norm behind it.
        """
        if (
            configuration.hidden_act not in ("swish", "silu")
            or configuration.pooling_type != "mean"
        ):
            raise UnsupportedError(
                f"{architecture}: hidden_act {configuration.hidden_act!r}, pooling_type "
                f"{configuration.pooling_type!r}; expected 'swish' and 'mean'"
            )
        model = self.on_meta(configuration)
        stem, top = model.embeddings.convolution, model.encoder.top_conv
        if top.out_channels != configuration.hidden_dim:
            raise UnsupportedError(
                f"{architecture}: hidden_dim {configuration.hidden_dim}, expected "
                f"{top.out_channels}, the width of the last convolution"
            )
        eps = configuration.batch_norm_eps
        ratio = configuration.squeeze_expansion_ratio
        blocks = [
            BlockSpec.of("efficientnet.stem", **sizes(stem), batch_norm_eps=eps),
            *(_bottleneck(block, eps, ratio) for block in model.encoder.blocks),
            BlockSpec.of("efficientnet.last", **sizes(top), batch_norm_eps=eps),
        ]
        return ChainSpec(
            architecture=architecture,
            blocks=tuple(blocks),
            input=InputSpec("image", (configuration.num_channels, None, None)),
            feature_dim=top.out_channels,
            cuts=tuple(range(len(blocks), 0, -1)),
        )

    def module(self, spec: BlockSpec) -> nn.Module:
        """Return the library's own layers."""
        from transformers.models.efficientnet import modeling_efficientnet as library

        configuration = _block_configuration(spec)
        inputs, outputs = spec["inputs"], spec["outputs"]
        norm = nn.BatchNorm2d(
            outputs, eps=spec["batch_norm_eps"], momentum=configuration.batch_norm_momentum
        )
        if spec.kind == "efficientnet.stem":
            pad = nn.ZeroPad2d(padding=(0, 1, 0, 1))
            convolution = nn.Conv2d(inputs, outputs, kernel_size=3, stride=2, bias=False)
            return nn.Sequential(pad, convolution, norm, nn.SiLU())
        if spec.kind == "efficientnet.last":
            convolution = nn.Conv2d(inputs, outputs, kernel_size=1, padding="same", bias=False)
            pool = nn.AvgPool2d(outputs, ceil_mode=True)
            return nn.Sequential(convolution, norm, nn.SiLU(), pool, nn.Flatten())
        bottleneck: nn.Module = library.EfficientNetBlock(
            config=configuration,
            in_dim=inputs,
            out_dim=outputs,
            stride=spec["stride"],
            expand_ratio=spec["expand_ratio"],
            kernel_size=spec["kernel_size"],
            drop_rate=0.0,
            id_skip=not spec["adds_input"],
            adjust_padding=spec["adjusts_padding"],
        )
        return nn.Sequential(bottleneck)

    def split(self, configuration: Any, state: Mapping[str, torch.Tensor]) -> SplitState:
        """Cut the state dict of ``EfficientNetModel`` or ``EfficientNetForImageClassification``."""
        chain = self.chain(configuration, self.name)
        inner: list[Places] = [
            {"0.": f"encoder.blocks.{index}."} for index in range(len(chain.blocks) - 2)
        ]
        places: list[Places] = [
            {"1.": "embeddings.convolution.", "2.": "embeddings.batchnorm."},
            *inner,
            {"0.": "encoder.top_conv.", "1.": "encoder.top_bn."},
        ]
        return cut(chain, places, state, prefix="efficientnet.", head="classifier")


@functools.lru_cache(maxsize=64)
def _block_configuration(spec: BlockSpec) -> Any:
    """Return a configuration with which the library builds this block; it must not be changed."""
    from transformers import EfficientNetConfig

    names = ("batch_norm_eps", "squeeze_expansion_ratio")
    settings: dict[str, Any] = {key: value for key, value in spec.settings if key in names}
    return EfficientNetConfig(**settings)


def _bottleneck(block: Any, eps: float, squeeze_ratio: float) -> BlockSpec:
    depthwise, projection = block.depthwise_conv, block.projection
    kernel = depthwise.depthwise_conv.kernel_size[0]
    return BlockSpec.of(
        "efficientnet.bottleneck",
        batch_norm_eps=eps,
        squeeze_expansion_ratio=squeeze_ratio,
        inputs=projection.project_conv.in_channels // block.expand_ratio,
        outputs=projection.project_conv.out_channels,
        stride=depthwise.stride,
        kernel_size=kernel,
        expand_ratio=block.expand_ratio,
        adds_input=projection.apply_dropout,
        # Without a stride the library does not use this padding, whatever it is.
        adjusts_padding=depthwise.stride == 2
        and depthwise.depthwise_conv_pad.padding[0] != kernel // 2,
    )
