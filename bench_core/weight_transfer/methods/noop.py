"""Transfers nothing and keeps nothing: what every other method is held against."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import ClassVar

import torch

from bench_core.weight_transfer.errors import UnknownModelError
from bench_core.weight_transfer.graphs import ArchitectureGraph
from bench_core.weight_transfer.methods.base import Stored, TransferMethod
from bench_core.weight_transfer.prefix import Match
from bench_core.weight_transfer.puts import check_all


class Noop(TransferMethod):
    """A search without transfer: each model is trained from its first values and forgotten."""

    name: ClassVar[str] = "noop"

    def best_match(
        self,
        graph: ArchitectureGraph,
        *,
        hint: int | None = None,
        exclude: Collection[int] = (),
    ) -> Match | None:
        """Return None."""
        return None

    def match_with(self, model: int, graph: ArchitectureGraph) -> Match | None:
        """Raise: no model is known."""
        raise self._unknown(model)

    def retain(self, model: int) -> str:
        """Raise: no model is known."""
        raise self._unknown(model)

    def release(self, model: int, pin: str) -> None:
        """Do nothing."""

    def fetch(
        self, match: Match, graph: ArchitectureGraph, into: Mapping[str, torch.Tensor]
    ) -> None:
        """Raise: no model is known."""
        raise self._unknown(match.donor)

    def store(
        self,
        model: int,
        graph: ArchitectureGraph,
        tensors: Mapping[str, torch.Tensor],
        *,
        match: Match | None = None,
        accuracy: float | None = None,
    ) -> Stored:
        """Check the tensors and forget them."""
        started = time.perf_counter_ns()
        check_all(model, graph, tensors)
        return Stored(graph.nbytes, 0, data_ns=time.perf_counter_ns() - started, meta_ns=0)

    def get(self, model: int) -> dict[str, torch.Tensor]:
        """Raise: no model is known."""
        raise self._unknown(model)

    def retire(self, model: int) -> int:
        """Free nothing; no model is there."""
        return 0

    def models(self) -> list[int]:
        """Return no model."""
        return []

    def nbytes(self) -> int:
        """Return 0."""
        return 0

    def sweep(self) -> int:
        """Find nothing."""
        return 0

    def close(self) -> None:
        """Do nothing."""

    @staticmethod
    def _unknown(model: int) -> UnknownModelError:
        return UnknownModelError(f"noop keeps no model, {model} was asked for")
