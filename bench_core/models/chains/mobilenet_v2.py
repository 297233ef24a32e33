"""MobileNetV2 (Sandler et al., "Inverted Residuals and Linear Bottlenecks", CVPR 2018)."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import torch
from torch import nn

from bench_core.errors import UnsupportedError
from bench_core.models.chains.convolutional import Convolutional, sizes
from bench_core.models.chains.cutting import Places, cut
from bench_core.models.chains.family import SplitState
from bench_core.models.chains.spec import BlockSpec, ChainSpec, InputSpec

_SHARED: Final = ("layer_norm_eps", "tf_padding")
"""Settings that every block needs; with TensorFlow's padding it depends on the image's size."""


class MobileNetV2(Convolutional):
    """First convolution, depthwise part of the stem, inverted residuals, last convolution and pool.

    The library has the first two in one module; apart, the blocks are those of the published
    studies, 18 of which can be re-trained.
    """

    name = "mobilenet_v2"
    library = "MobileNetV2"
    configurations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "mobilenet_v2": {},
        "mobilenet_tiny": {"depth_multiplier": 0.1},
    }

    def chain(self, configuration: Any, architecture: str) -> ChainSpec:
        """Return the chain.

        Raises:
            UnsupportedError: another activation than ReLU6, or a stem with an expansion.
        """
        if configuration.hidden_act != "relu6" or not configuration.first_layer_is_expansion:
            raise UnsupportedError(
                f"{architecture}: hidden_act {configuration.hidden_act!r}, "
                f"first_layer_is_expansion {configuration.first_layer_is_expansion!r}; "
                "expected 'relu6' and true"
            )
        model = self.on_meta(configuration)
        stem, last = model.conv_stem, model.conv_1x1.convolution
        shared = {name: getattr(configuration, name) for name in _SHARED}
        blocks = [
            BlockSpec.of("mobilenet_v2.stem", **sizes(stem.first_conv.convolution), **shared),
            BlockSpec.of(
                "mobilenet_v2.separable",
                **shared,
                inputs=stem.conv_3x3.convolution.in_channels,
                outputs=stem.reduce_1x1.convolution.out_channels,
            ),
            *(_residual(layer, shared) for layer in model.layer),
            BlockSpec.of("mobilenet_v2.last", **sizes(last), **shared),
        ]
        return ChainSpec(
            architecture=architecture,
            blocks=tuple(blocks),
            input=InputSpec("image", (configuration.num_channels, None, None)),
            feature_dim=last.out_channels,
            cuts=tuple(range(len(blocks), 0, -1)),
        )

    def module(self, spec: BlockSpec) -> nn.Module:
        """Return the library's own layers."""
        from transformers.models.mobilenet_v2 import modeling_mobilenet_v2 as library

        inputs, outputs = spec["inputs"], spec["outputs"]
        configuration = _block_configuration(spec)
        layer = functools.partial(library.MobileNetV2ConvLayer, configuration)
        if spec.kind == "mobilenet_v2.stem":
            return nn.Sequential(layer(inputs, outputs, kernel_size=3, stride=2))
        if spec.kind == "mobilenet_v2.separable":
            return nn.Sequential(
                layer(inputs, inputs, kernel_size=3, groups=inputs),
                layer(inputs, outputs, kernel_size=1, use_activation=False),
            )
        if spec.kind == "mobilenet_v2.last":
            pool = nn.AdaptiveAvgPool2d((1, 1))
            return nn.Sequential(layer(inputs, outputs, kernel_size=1), pool, nn.Flatten())
        residual: nn.Module = library.MobileNetV2InvertedResidual(
            configuration, inputs, outputs, spec["stride"], spec["dilation"]
        )
        return nn.Sequential(residual)

    def split(self, configuration: Any, state: Mapping[str, torch.Tensor]) -> SplitState:
        """Cut the state dict of ``MobileNetV2Model`` or ``MobileNetV2ForImageClassification``."""
        chain = self.chain(configuration, self.name)
        residuals: list[Places] = [{"0.": f"layer.{i}."} for i in range(len(chain.blocks) - 3)]
        places: list[Places] = [
            {"0.": "conv_stem.first_conv."},
            {"0.": "conv_stem.conv_3x3.", "1.": "conv_stem.reduce_1x1."},
            *residuals,
            {"0.": "conv_1x1."},
        ]
        return cut(chain, places, state, prefix="mobilenet_v2.", head="classifier")


@functools.lru_cache(maxsize=64)
def _block_configuration(spec: BlockSpec) -> Any:
    """Return a configuration with which the library builds this block; it must not be changed.

    The spec has the width itself, which the library rounds: many settings give the same block.
    """
    from transformers import MobileNetV2Config

    ratio = spec["expanded"] / spec["inputs"] if spec.kind == "mobilenet_v2.residual" else 1.0
    shared = {name: spec[name] for name in _SHARED}
    return MobileNetV2Config(**shared, expand_ratio=ratio, depth_divisible_by=1, min_depth=1)


def _residual(layer: Any, shared: Mapping[str, Any]) -> BlockSpec:
    depthwise = layer.conv_3x3.convolution
    return BlockSpec.of(
        "mobilenet_v2.residual",
        **shared,
        inputs=layer.expand_1x1.convolution.in_channels,
        expanded=depthwise.in_channels,
        outputs=layer.reduce_1x1.convolution.out_channels,
        stride=depthwise.stride[0],
        dilation=depthwise.dilation[0],
    )
