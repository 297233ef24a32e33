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

    def get(self, key: str) -> nn.Module | None:
        """Return a block's module, or None if it is not in memory."""
        return self._modules.get(key)

    def __getitem__(self, key: str) -> nn.Module:
        """Return the module of a block that is in memory."""
        return self._modules[key]

    def supply(
        self,
        groups: Sequence[Sequence[BlockRef]],
        budget: int,
        meanwhile: Callable[[], bool] = lambda: False,
    ) -> Generator[Arriving]:
        """Yield the modules of each group, the next ones being read meanwhile.

        A module is waited for when it is taken from its group, so that the first of a group run
        while the others are still being read. What a group evicts may still be in use by an earlier
        one: the reading thread waits until that one's turn is over, which is when the next group
        is asked for.

        Args:
            groups: blocks that are used together, in the order of their use.
            budget: bytes that all blocks in memory may have.
            meanwhile: is called again and again where a block has to be waited for; does something
                useful, and returns whether there was anything left to do.

        Raises:
            BudgetError: a group alone is larger than the budget.
            UnusableBlockError: a block is damaged or missing; when it is taken, or the next group.
        """
        sizes = self._sizes | {ref.key: ref.nbytes for group in groups for ref in group}
        refs = {ref.key: ref for group in groups for ref in group}
        keys = [[ref.key for ref in group] for group in groups]
        moves = plan_residency(keys, sizes, budget, self._sizes)
        turn = _Turn()
        pool = ThreadPoolExecutor(1, thread_name_prefix="blocks")
        try:
            coming = [self._start(pool, move, refs, turn) for move in moves]
            for index, (group, loading) in enumerate(zip(keys, coming, strict=True)):
                turn.begin(index)
                arriving = Arriving(self, group, loading, meanwhile)
                yield arriving
                # Also what was not asked for: a later group may count on it.
                arriving.wait_for_all()
        finally:
            turn.end()
            pool.shutdown(wait=True, cancel_futures=True)

    def _start(
        self,
        pool: ThreadPoolExecutor,
        move: Move,
        refs: Mapping[str, BlockRef],
        turn: _Turn,
    ) -> dict[str, Future[None]]:
        """Let a move be carried out, and return when each of its blocks is there."""
        if move.evict:
            pool.submit(self._make_room, move, turn)
        return {key: pool.submit(self._make, refs[key], turn) for key in move.load}

    def _make_room(self, move: Move, turn: _Turn) -> None:
        """Evict once none of it is in use any more."""
        if turn.wait_for(move.free_from):
            self._evict(move.evict)

    def _make(self, ref: BlockRef, turn: _Turn) -> None:
        # When all is over, room may not have been made for it.
        if turn.wait_for(0):
            self._modules[ref.key] = self._load(ref)
            self._sizes[ref.key] = ref.nbytes
            self._meter.hold("blocks", ref.nbytes)

    def wait(self, loading: Future[None], meanwhile: Callable[[], bool]) -> None:
        """Wait for a block, doing something else as long as there is something."""
        while not loading.done() and meanwhile():
            pass
        with self._meter.phase("prepare_model"):
            loading.result()

    def _evict(self, keys: Sequence[str]) -> None:
        for key in keys:
            del self._modules[key]
            self._meter.hold("blocks", -self._sizes.pop(key))


class Arriving:
    """The modules of a group: one that is not there yet is waited for when it is asked for."""

    def __init__(
        self,
        cache: BlockCache,
        keys: Sequence[str],
        loading: Mapping[str, Future[None]],
        meanwhile: Callable[[], bool],
    ) -> None:
        self._cache, self._keys, self._meanwhile = cache, keys, meanwhile
        self._loading = dict(loading)

    def __getitem__(self, index: int, /) -> nn.Module:
        """Return the module of the group's block at this position."""
        key = self._keys[index]
        loading = self._loading.pop(key, None)
        if loading is not None:
            self._cache.wait(loading, self._meanwhile)
        return self._cache[key]

    def wait_for_all(self) -> None:
        """Wait for the modules that were not asked for."""
        for loading in self._loading.values():
            self._cache.wait(loading, self._meanwhile)


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
