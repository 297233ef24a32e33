"""Intermediate results that later units start from, by unit and batch."""

from __future__ import annotations

from collections.abc import Sequence

from bench_core.model_search.batches import Batch
from bench_core.model_search.meter import Meter
from bench_core.models.chains import Activation, nbytes_of


class LiveResults:
    """What is alive, and how many bytes that is."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._kept: dict[tuple[int, Batch], Activation] = {}

    def keep(self, unit: int, batch: Batch, output: Activation) -> None:
        """Keep a unit's output."""
        self._kept[unit, batch] = output
        self._meter.hold("activations", nbytes_of(output))

    def get(self, unit: int, batch: Batch) -> Activation:
        """Return a unit's output."""
        return self._kept[unit, batch]

    def release(self, unit: int, batches: Sequence[Batch]) -> None:
        """Forget a unit's outputs; those of a unit that nothing starts from were never kept."""
        for batch in batches:
            output = self._kept.pop((unit, batch), None)
            if output is not None:
                self._meter.hold("activations", -nbytes_of(output))
