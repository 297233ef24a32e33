"""How convolutional networks are initialised when they are trained from nothing."""

from __future__ import annotations

from torch import nn


def initialise_convolutions(module: nn.Module) -> None:
    """Initialise convolutions by Kaiming's normal values (fan in), norms by 1, statistics by 0, 1.

    He et al., "Delving Deep into Rectifiers", ICCV 2015. For MobileNetV2 and EfficientNet the
    transformers library draws every weight with a deviation of 0.02, also those of the norms, with
    which the output of a deep chain vanishes; so it does with fan out, which for depthwise
    convolutions is the number of channels times too large.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
