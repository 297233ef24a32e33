"""ResNets (He et al., "Deep Residual Learning for Image Recognition", CVPR 2016) as chains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import torch
from torch import nn

from bench_core.errors import UnsupportedError
from bench_core.models.chains.convolutional import Convolutional
from bench_core.models.chains.cutting import Places, cut
from bench_core.models.chains.family import SplitState
from bench_core.models.chains.spec import BlockSpec, ChainSpec, InputSpec

_BASIC: Final = {"layer_type": "basic", "hidden_sizes": [64, 128, 256, 512]}
_BOTTLENECK: Final = {"layer_type": "bottleneck", "hidden_sizes": [256, 512, 1024, 2048]}
_NEVER_TWO: Final = ("resnet34", "resnet50")
"""Of these the published studies never re-train the last two layers alone."""


class ResNet(Convolutional):
    """The stem with its pooling, then a block for each residual layer; the last one pools.

    The cuts are those of Strassenburg et al., "Alsatian", SIGMOD 2025: one before each residual
    layer, but for the last layer but one of ResNet-34 and ResNet-50. There two re-trained blocks
    are the last three layers, and so on: 16 cuts, on which the published draws depend.
    """

    name = "resnet"
    library = "ResNet"
    fan = "fan_out"
    configurations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "resnet18": {"depths": [2, 2, 2, 2], **_BASIC},
        "resnet34": {"depths": [3, 4, 6, 3], **_BASIC},
        "resnet50": {"depths": [3, 4, 6, 3], **_BOTTLENECK},
        "resnet101": {"depths": [3, 4, 23, 3], **_BOTTLENECK},
        "resnet152": {"depths": [3, 8, 36, 3], **_BOTTLENECK},
        "resnet_tiny": {
            "depths": [2, 2, 2, 2],
            "layer_type": "basic",
            "embedding_size": 16,
            "hidden_sizes": [16, 32, 48, 64],
        },
    }

    def chain(self, configuration: Any, architecture: str) -> ChainSpec:
        """Return the chain; every residual layer can be re-trained, the stem cannot.

        Raises:
            UnsupportedError: another activation than a ReLU, stages without layers or width, or a
                dilated stage of basic layers.
        """
        if configuration.hidden_act != "relu":
            raise UnsupportedError(
                f"{architecture}: activation {configuration.hidden_act!r}, only relu is supported"
            )
        depths, widths = configuration.depths, configuration.hidden_sizes
        if len(depths) != len(widths) or min(depths, default=0) < 1:
            raise UnsupportedError(
                f"{architecture}: depths {list(depths)} for hidden_sizes {list(widths)}; expected "
                "a number of layers, at least one, for each"
            )
        if _dilates(configuration) and configuration.layer_type == "basic":
            raise UnsupportedError(f"{architecture}: dilated (DC5) basic layers are not supported")
        layers = self._layers(configuration)
        stem = BlockSpec.of(
            "resnet.stem", inputs=configuration.num_channels, outputs=configuration.embedding_size
        )
        n_blocks = 1 + len(layers)
        return ChainSpec(
            architecture=architecture,
            blocks=(stem, *layers),
            input=InputSpec("image", (configuration.num_channels, None, None)),
            feature_dim=configuration.hidden_sizes[-1],
            cuts=_cuts(architecture, n_blocks),
        )

    def module(self, spec: BlockSpec) -> nn.Module:
        """Return the library's own layer, with the last pooling where the spec says so."""
        from transformers.models.resnet import modeling_resnet as library

        if spec.kind == "resnet.stem":
            convolution = library.ResNetConvLayer(
                spec["inputs"], spec["outputs"], kernel_size=7, stride=2
            )
            return nn.Sequential(convolution, nn.MaxPool2d(kernel_size=3, stride=2, padding=1))
        layer: Any
        if spec.kind == "resnet.basic":
            layer = library.ResNetBasicLayer(spec["inputs"], spec["outputs"], stride=spec["stride"])
        else:
            layer = library.ResNetBottleNeckLayer(
                spec["inputs"],
                spec["outputs"],
                stride=spec["stride"],
                downsample_in_bottleneck=spec["downsample_in_bottleneck"],
            )
            dilation = dict(spec.settings).get("dilation", 1)
            layer.layer[1].convolution.dilation = (dilation, dilation)
            layer.layer[1].convolution.padding = (dilation, dilation)
        return nn.Sequential(layer, *_pooling()) if spec["pools"] else nn.Sequential(layer)

    def split(self, configuration: Any, state: Mapping[str, torch.Tensor]) -> SplitState:
        """Cut the state dict of ``ResNetModel`` or ``ResNetForImageClassification``."""
        places: list[Places] = [{"0.": "embedder.embedder."}]
        for stage, depth in enumerate(configuration.depths):
            places += [{"0.": f"encoder.stages.{stage}.layers.{i}."} for i in range(depth)]
        chain = self.chain(configuration, self.name)
        return cut(chain, places, state, prefix="resnet.", head="classifier.1")

    def _layers(self, configuration: Any) -> list[BlockSpec]:
        depths, widths = configuration.depths, configuration.hidden_sizes
        layers: list[BlockSpec] = []
        inputs = configuration.embedding_size
        for stage, (depth, outputs) in enumerate(zip(depths, widths, strict=True)):
            halves = stage > 0 or configuration.downsample_in_first_stage
            dilated = _dilates(configuration) and stage == len(depths) - 1
            for index in range(depth):
                stride = 2 if index == 0 and halves and not dilated else 1
                # As in torchvision and timm: the first layer has the dilation of the stage before.
                dilation = 2 if dilated and index else 1
                is_last = stage == len(depths) - 1 and index == depth - 1
                layers.append(_layer(configuration, inputs, outputs, stride, dilation, is_last))
                inputs = outputs
        return layers


def _cuts(architecture: str, n_blocks: int) -> tuple[int, ...]:
    left_out = n_blocks - 2 if architecture in _NEVER_TWO else None
    return tuple(cut for cut in range(n_blocks, 0, -1) if cut != left_out)


def _dilates(configuration: Any) -> bool:
    """Whether the last stage is dilated instead of halving its input; no setting of the library."""
    return bool(getattr(configuration, "dilates_last_stage", False))


def _layer(
    configuration: Any, inputs: int, outputs: int, stride: int, dilation: int, pools: bool
) -> BlockSpec:
    sizes = {"inputs": inputs, "outputs": outputs, "stride": stride, "pools": pools}
    if dilation > 1:  # else not named: digests of plain layers are older than this setting
        sizes["dilation"] = dilation
    if configuration.layer_type == "basic":
        return BlockSpec.of("resnet.basic", **sizes)
    early = bool(configuration.downsample_in_bottleneck) and stride > 1
    return BlockSpec.of("resnet.bottleneck", downsample_in_bottleneck=early, **sizes)


def _pooling() -> tuple[nn.Module, nn.Module]:
    return nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten()
