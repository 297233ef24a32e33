"""What convolutional networks share: the library's whole model, its sizes and pooled output."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import nn

from bench_core.models.chains.family import Family


class Convolutional(Family):
    """Base of the families of convolutional networks; subclasses name the library's classes."""

    library: ClassVar[str]
    """What the names of the library's configuration and model begin with."""
    fan: ClassVar[Literal["fan_in", "fan_out"]] = "fan_in"
    """What the deviation of fresh convolutions is taken from."""

    def configuration(self, **settings: Any) -> Any:
        """Return the library's configuration."""
        return self._class("Config")(**settings)

    def on_meta(self, configuration: Any) -> Any:
        """Return the library's model without memory: its sizes are read off it."""
        with torch.device("meta"):
            return self._class("Model")(configuration)

    def initialise(self, module: nn.Module) -> None:
        """Initialise convolutions by Kaiming's normal values, norms by 1, statistics by 0 and 1.

        He et al., "Delving Deep into Rectifiers", ICCV 2015; the library does so for ResNets alone,
        by fan out. For MobileNetV2 and EfficientNet it draws every weight with a deviation of 0.02,
        also those of the norms, with which the output of a deep chain vanishes; so it does with fan
        out, which for depthwise convolutions is the number of channels times too large.
        """
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode=self.fan, nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
            elif isinstance(layer, nn.BatchNorm2d):
                layer.reset_parameters()

    def reference(self, configuration: Any) -> nn.Module:
        """Return the library's feature extractor in evaluation mode."""
        model: nn.Module = self._class("Model")(configuration)
        return model.eval()

    def reference_features(self, model: nn.Module, inputs: Any) -> torch.Tensor:
        """Return the pooled output."""
        features: torch.Tensor = model(inputs).pooler_output.flatten(1)
        return features

    def _class(self, of: str) -> Any:
        import transformers

        return getattr(transformers, self.library + of)


def sizes(convolution: Any) -> dict[str, int]:
    """Return the channels that a convolution takes and gives, as settings of a block."""
    return {"inputs": convolution.in_channels, "outputs": convolution.out_channels}
