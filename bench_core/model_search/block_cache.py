"""Blocks in memory under a byte budget, read ahead of their use by a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from torch import nn

from bench_core.model_search.meter import Meter
from bench_core.model_search.residency import Move, plan_residency
from bench_core.snapshots import BlockRef


class BlockCache:
    """Modules of blocks by key; what a search needs again stays as long as the budget allows."""

    def __init__(self, load: Callable[[BlockRef], nn.Module], meter: Meter) -> None:
        self._load, self._meter = load, meter
        self._modules: dict[str, nn.Module] = {}
        self._sizes: dict[str, int] = {}

    @property
    def resident(self) -> Mapping[str, int]:
        """Key to bytes of what is in memory."""
        return dict(self._sizes)

    def keep_only(self, keys: frozenset[str]) -> None:
        """Forget all other blocks."""
        self._evict([key for key in self._sizes if key not in keys])

    def clear(self) -> None:
        """Forget all blocks."""
        self._evict(list(self._sizes))

    def supply(
        self, groups: Sequence[Sequence[BlockRef]], budget: int
    ) -> Generator[list[nn.Module]]:
        """Yield the modules of each group, the next ones being read meanwhile.

        What a group evicts may still be in use by an earlier one: the reading thread waits until
        that one's turn is over, which is when the next group is asked for.

        Raises:
            BudgetError: a group alone is larger than the budget.
            UnusableBlockError: a block is damaged or missing.
        """
        sizes = self._sizes | {ref.key: ref.nbytes for group in groups for ref in group}
        refs = {ref.key: ref for group in groups for ref in group}
        keys = [[ref.key for ref in group] for group in groups]
        moves = plan_residency(keys, sizes, budget, self._sizes)
        turn = _Turn()
        pool = ThreadPoolExecutor(1, thread_name_prefix="blocks")
        try:
            loading: dict[int, Future[None]] = {
                index: pool.submit(self._make, move, refs, turn)
                for index, move in enumerate(moves)
                if move.load or move.evict
            }
            for index, group in enumerate(keys):
                turn.begin(index)
                if index in loading:
                    with self._meter.phase("prepare_model"):
                        loading.pop(index).result()
                yield [self._modules[key] for key in group]
        finally:
            turn.end()
            pool.shutdown(wait=True, cancel_futures=True)

    def _make(self, move: Move, refs: Mapping[str, BlockRef], turn: _Turn) -> None:
        """Carry out a move, once what it evicts is no longer in use."""
        if not turn.wait_for(move.free_from):
            return
        self._evict(move.evict)
        for key in move.load:
            self._modules[key] = self._load(refs[key])
            self._sizes[key] = refs[key].nbytes
            self._meter.hold("blocks", refs[key].nbytes)

    def _evict(self, keys: Sequence[str]) -> None:
        for key in keys:
            del self._modules[key]
            self._meter.hold("blocks", -self._sizes.pop(key))


class _Turn:
    """Which group is in use; the reading thread waits for it to move on."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._index = 0
        self._is_over = False

    def begin(self, index: int) -> None:
        with self._changed:
            self._index = index
            self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def wait_for(self, index: int) -> bool:
        """Wait until this group is in use, or a later one; False when all is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_over or self._index >= index)
            return not self._is_over
