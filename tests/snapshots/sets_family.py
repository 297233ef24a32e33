"""A family whose blocks have what training must mind: BatchNorm, dropout, equal starts."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from bench_core.models.chains import BlockSpec, ChainSpec, Family, InputSpec, SplitState

WIDTH = 8


class Toy(Family):
    """Four blocks with BatchNorm and dropout, a LayerNorm after each."""

    name = "toy"
    configurations: ClassVar[Mapping[str, Mapping[str, Any]]] = {"toy": {}}

    def configuration(self, **settings: Any) -> None:
        return None

    def chain(self, configuration: None, architecture: str) -> ChainSpec:
        dense, norm = BlockSpec.of("toy.dense"), BlockSpec.of("toy.norm")
        vector = InputSpec("vector", (WIDTH,))
        return ChainSpec(architecture, (dense, norm) * 4, vector, WIDTH, cuts=(8, 6, 4, 2, 0))

    def module(self, spec: BlockSpec) -> nn.Module:
        if spec.kind == "toy.norm":
            return nn.LayerNorm(WIDTH)
        return nn.Sequential(
            nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU(), nn.Dropout(0.2)
        )

    def initialise(self, module: nn.Module) -> None:
        for layer in module.modules():
            if isinstance(layer, nn.Linear | nn.BatchNorm1d | nn.LayerNorm):
                layer.reset_parameters()

    def split(self, configuration: None, state: Mapping[str, torch.Tensor]) -> SplitState:
        raise AssertionError("not for imports")

    def reference(self, configuration: None) -> nn.Module:
        raise AssertionError("has no library's model")

    def reference_features(self, model: nn.Module, inputs: Any) -> torch.Tensor:
        raise AssertionError("has no library's model")


def toy_chain(monkeypatch: pytest.MonkeyPatch) -> ChainSpec:
    """Make the family known, and return its one chain."""
    families = importlib.import_module("bench_core.models.chains.family")
    monkeypatch.setattr(families, "_FAMILIES", {"toy": "sets_family:Toy"})
    found: ChainSpec = families.chain("toy")
    return found
