"""Blocks that are read ahead: each is there when it is asked for, whoever had it read."""

from __future__ import annotations

import threading
import time

import pytest
from torch import nn

from bench_core.model_search.block_cache import BlockCache
from bench_core.model_search.loading import UnusableBlockError
from bench_core.model_search.meter import Meter
from bench_core.models.chains import BlockSpec
from bench_core.snapshots import BlockRef


def ref(name: str) -> BlockRef:
    return BlockRef(BlockSpec.of(f"test.{name}"), name * 32, 10)


def slow(block: BlockRef) -> nn.Module:
    time.sleep(0.02)
    return nn.Identity()


def test_a_block_that_its_own_group_did_not_ask_for_is_there_for_the_next() -> None:
    cache, a, b = BlockCache(slow, Meter()), ref("a"), ref("b")
    asked = [False, True]
    for group, is_asked in zip(cache.supply([[a, b], [b, a]], 100), asked, strict=True):
        if is_asked:
            assert group[0] is cache[b.key]
            assert group[1] is cache[a.key]


def test_the_first_block_of_a_group_is_there_before_the_last() -> None:
    last_may_come = threading.Event()

    def load(block: BlockRef) -> nn.Module:
        if block.spec.kind == "test.b":
            assert last_may_come.wait(30)
        return nn.Identity()

    cache = BlockCache(load, Meter())
    group = cache.supply([[ref("a"), ref("b")]], 100)
    for arriving in group:
        assert isinstance(arriving[0], nn.Identity)
        last_may_come.set()
        assert isinstance(arriving[1], nn.Identity)


def test_a_damaged_block_is_said_although_nobody_asked_for_it() -> None:
    def load(block: BlockRef) -> nn.Module:
        raise UnusableBlockError("damaged", block.key)

    groups = BlockCache(load, Meter()).supply([[ref("a")], [ref("b")]], 100)
    next(groups)
    with pytest.raises(UnusableBlockError):
        next(groups)


def test_what_is_evicted_waits_until_its_group_is_done() -> None:
    cache, refs = BlockCache(slow, Meter()), [ref(name) for name in "abc"]
    for group, block in zip(cache.supply([[r] for r in refs], 20), refs, strict=True):
        module = group[0]
        time.sleep(0.05)  # the reader has had time to go on
        assert cache[block.key] is module
        assert sum(cache.resident.values()) <= 20
