"""What a search took: seconds by phase, and work that can be counted without a clock."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

Phase = Literal["planning", "prepare_model", "prepare_data", "inference", "proxy_score"]
PHASES: Final[tuple[Phase, ...]] = (
    "planning",
    "prepare_model",
    "prepare_data",
    "inference",
    "proxy_score",
)

Count = Literal[
    "model_loads",
    "block_loads",
    "bytes_loaded",
    "bytes_from_storage",
    "bytes_from_page_cache",
    "items_decoded",
    "inputs_made",
    "block_executions",
    "item_blocks",
    "feature_bytes_written",
    "feature_bytes_read",
    "bytes_to_device",
    "bytes_from_device",
    "proxy_fits",
    "proxy_steps",
    "batches_resumed",
]
"""``block_executions``: forward passes of one block over one batch; ``item_blocks``: the same,
times the items of the batch. ``items_decoded``: items read and decoded; ``inputs_made``: items
turned into a model's input. ``bytes_loaded``: of blocks or models, as they were asked for;
``bytes_from_storage`` and ``bytes_from_page_cache`` say where these were, and are missing where the
system does not say. ``batches_resumed``: features of a model and batch that a journal had."""


@dataclass(frozen=True)
class Work:
    """What a search did, and how long its parts took."""

    seconds: Mapping[str, float]
    """By phase, as the searching thread saw it: what was loaded or decoded beside the computation
    counts only as far as it was waited for."""
    counts: Mapping[str, int]
    peak_activation_bytes: int
    """Most bytes of intermediate results that were alive at once."""
    peak_block_bytes: int
    """Most bytes of blocks that were in memory at once."""

    def since(self, before: Work) -> Work:
        """Return what was done after an earlier look at the same meter; peaks are those of all."""
        return replace(
            self,
            seconds={name: value - before.seconds[name] for name, value in self.seconds.items()},
            counts={
                name: value - before.counts.get(name, 0) for name, value in self.counts.items()
            },
        )


class Meter:
    """Adds up what the parts of an engine report; phases do not nest."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = dict.fromkeys(PHASES, 0.0)
        self._counts: Counter[str] = Counter()
        self._live: Counter[str] = Counter()
        self._peaks: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Count what happens inside to a phase."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] += time.perf_counter() - started

    def count(self, name: Count, amount: int = 1) -> None:
        """Add to a counter; loading threads do so, too."""
        with self._lock:
            self._counts[name] += amount

    def hold(self, kind: Literal["activations", "blocks"], nbytes: int) -> None:
        """Note that memory was taken, or given back (negative)."""
        with self._lock:
            self._live[kind] += nbytes
            self._peaks[kind] = max(self._peaks[kind], self._live[kind])

    def merge(self, work: Work) -> None:
        """Add what another process has done in this one's name; of peaks the higher one counts."""
        for name, value in work.seconds.items():
            self._seconds[name] += value
        self._counts.update(work.counts)
        peaks = {"activations": work.peak_activation_bytes, "blocks": work.peak_block_bytes}
        self._peaks |= Counter(peaks)

    @property
    def work(self) -> Work:
        """What was done so far."""
        return Work(
            seconds=dict(self._seconds),
            counts=dict(sorted(self._counts.items())),
            peak_activation_bytes=self._peaks["activations"],
            peak_block_bytes=self._peaks["blocks"],
        )
