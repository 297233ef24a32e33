"""How long each distinct block takes for one batch on this machine, measured alone."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from bench_core.model_search.candidates import Candidates
from bench_core.model_search.environment import exact
from bench_core.models.chains import Activation, BlockSpec, block_module, initialised
from bench_core.models.chains.resources import ItemShape, ItemShapes


@dataclass(frozen=True)
class BlockRates:
    """Seconds of one batch, by a block's key: weights and input in memory, nothing else running."""

    batch_size: int
    seconds: Mapping[str, float]
    flops_per_second: float
    """Over all distinct blocks: the rate that the machine reaches on these."""


def measure_blocks(
    candidates: Candidates,
    inputs: ItemShapes,
    batch_size: int,
    device: torch.device | str = "cpu",
    *,
    repeats: int = 2,
    limit_seconds: float | None = None,
) -> BlockRates:
    """Time each distinct architecture of a block once it is warm; the least of some repeats counts.

    Args:
        candidates: whose blocks.
        inputs: shapes of an item that the first blocks take.
        batch_size: items of a batch.
        device: where to compute.
        repeats: how often, after one run that does not count.
        limit_seconds: about so long altogether: what is slow is timed with fewer items than a batch
            has, one at least.
    """
    cases = _cases(candidates, inputs)
    distinct = {case: key for key, case in cases.items()}
    each = None if limit_seconds is None else limit_seconds / len(distinct)
    timed = {
        case: block_seconds(*case, batch_size, device, repeats=repeats, limit_seconds=each)
        for case in distinct
    }
    flops = sum(candidates.resources[key].flops for key in distinct.values()) * batch_size
    total = sum(timed.values())
    seconds = {key: timed[case] for key, case in cases.items()}
    return BlockRates(batch_size, seconds, flops / total if total else 0.0)


def _cases(candidates: Candidates, inputs: ItemShapes) -> dict[str, tuple[BlockSpec, ItemShapes]]:
    """Return for each block what decides its time: its architecture, and what it is given."""
    cases: dict[str, tuple[BlockSpec, ItemShapes]] = {}
    for snapshot in candidates.snapshots:
        given = inputs
        for block in snapshot.blocks:
            cases[block.key] = (block.spec, given)
            given = candidates.resources[block.key].output
    return cases


def distinct_runs(keys: Iterable[tuple[str, ...]]) -> list[str]:
    """Return the last block of every distinct prefix of some chains: what must run at least once.

    A block that stands behind two different prefixes runs twice.
    """
    prefixes = {chain[:end] for chain in keys for end in range(1, len(chain) + 1)}
    return [prefix[-1] for prefix in prefixes]


def block_seconds(
    spec: BlockSpec,
    inputs: ItemShapes,
    batch_size: int,
    device: torch.device | str = "cpu",
    *,
    repeats: int = 2,
    limit_seconds: float | None = None,
) -> float:
    """Return the seconds of one batch through a block that is warm; the least of some repeats.

    Args:
        spec: the block; its parameters are initialised for this.
        inputs: shapes of an item that it takes.
        batch_size: items of the batch.
        device: where to compute.
        repeats: how often, after one run that does not count.
        limit_seconds: as for `measure_blocks`, for this block.
    """
    device = torch.device(device)
    module = block_module(spec, initialised(spec, 0)).to(device)
    items = batch_size
    with torch.inference_mode(), exact(device):
        if limit_seconds is not None:
            one = random_batch(inputs, 1, device)
            _once(module, one, device)
            fitting = limit_seconds / (1 + repeats) / max(_once(module, one, device), 1e-9)
            items = max(1, min(batch_size, int(fitting)))
        given = random_batch(inputs, items, device)
        _once(module, given, device)
        least = min(_once(module, given, device) for _ in range(repeats))
    return least * batch_size / items


def random_batch(
    inputs: ItemShapes, batch_size: int, device: torch.device | str = "cpu"
) -> Activation:
    """Return a batch of such items, always the same: normal values, of whole numbers ones."""
    tensors = tuple(_made(item, batch_size).to(device) for item in inputs)
    return tensors if len(tensors) > 1 else tensors[0]


def _once(module: nn.Module, given: Activation, device: torch.device) -> float:
    started = time.perf_counter()
    module(given)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def _made(item: ItemShape, batch_size: int) -> torch.Tensor:
    """Return normal values, or ones: token ids and masks."""
    shape = (batch_size, *item.shape)
    if not item.dtype.is_floating_point:
        return torch.ones(shape, dtype=item.dtype)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(item.dtype)
