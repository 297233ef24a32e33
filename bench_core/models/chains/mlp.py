"""Multi-layer perceptrons over vectors: chains that run in microseconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from bench_core.errors import TensorNotFoundError
from bench_core.models.chains.family import Family, SplitState
from bench_core.models.chains.spec import BlockSpec, ChainSpec, InputSpec


@dataclass(frozen=True)
class MlpConfiguration:
    """Width of the input, and of the output of each block."""

    inputs: int
    widths: tuple[int, ...]


class Mlp(Family):
    """Blocks of a linear layer and a ReLU."""

    name = "mlp"
    configurations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "mlp_tiny": {"inputs": 64, "widths": (32, 32, 32, 16)},
        "mlp_deep": {"inputs": 64, "widths": (64,) * 12},
    }

    def configuration(self, **settings: Any) -> MlpConfiguration:
        """Return the configuration."""
        return MlpConfiguration(**settings)

    def chain(self, configuration: MlpConfiguration, architecture: str) -> ChainSpec:
        """Return a block for each width; every one can be re-trained."""
        before = (configuration.inputs, *configuration.widths[:-1])
        blocks = tuple(
            BlockSpec.of("mlp.dense", inputs=inputs, outputs=outputs)
            for inputs, outputs in zip(before, configuration.widths, strict=True)
        )
        return ChainSpec(
            architecture=architecture,
            blocks=blocks,
            input=InputSpec("vector", (configuration.inputs,)),
            feature_dim=configuration.widths[-1],
            cuts=tuple(range(len(blocks), -1, -1)),
        )

    def module(self, spec: BlockSpec) -> nn.Module:
        """Return the linear layer with its ReLU."""
        return nn.Sequential(nn.Linear(spec["inputs"], spec["outputs"]), nn.ReLU())

    def initialise(self, module: nn.Module) -> None:
        """Initialise as torch does."""
        for layer in module.modules():
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()

    def split(
        self, configuration: MlpConfiguration, state: Mapping[str, torch.Tensor]
    ) -> SplitState:
        """Cut the state dict of `reference`."""
        count = len(configuration.widths)
        try:
            blocks = tuple(
                {key: state[f"{index}.{key}"] for key in ("0.weight", "0.bias")}
                for index in range(count)
            )
        except KeyError as error:
            raise TensorNotFoundError(f"no tensor {error} in the state dict of the model") from None
        return SplitState(blocks=blocks, head=None)

    def reference(self, configuration: MlpConfiguration) -> nn.Module:
        """Return all blocks in a row."""
        return nn.Sequential(*map(self.module, self.chain(configuration, self.name).blocks))

    def reference_features(self, model: nn.Module, inputs: Any) -> torch.Tensor:
        """Return the model's output."""
        features: torch.Tensor = model(inputs)
        return features
