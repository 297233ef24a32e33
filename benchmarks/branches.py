"""Going on from an intermediate result: the bytes that it takes, and whether reading it pays."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from benchmarks.support.chain_inputs import batch_for, forward, item_shapes
from benchmarks.support.named_params import NamedParams
from harness.errors import RefusedError, WrongResultError
from harness.inputs import limits_of_environment

if TYPE_CHECKING:
    from bench_core.models.chains import ChainSpec
    from bench_core.models.chains.resources import BlockResources

MEGABYTE: Final = 1_000_000


class BranchBytes(NamedParams):
    """Bytes that it takes to keep every intermediate result of all items: each block's output.

    Nothing is timed. What is checked: the outputs of a real forward pass of one item are as large
    as planned, block by block.
    """

    params = (("resnet_tiny", "vit_tiny"), (64, 2000), (32, 64))
    param_names = ("architecture", "items", "size")
    quick = {"architecture": ("resnet_tiny", "vit_tiny")}
    open_params = ("architecture",)
    unit = "bytes"
    timeout = 600

    def prepare(self, architecture: str, items: int, size: int) -> None:
        self.chain = _chain(architecture)
        self.needs = _needs(self.chain, size)
        self.item = batch_for(architecture, 1, size)
        self.case = (architecture, size)

    def track_bytes(self, architecture: str, items: int, size: int) -> float:
        return float(items * sum(block.output_bytes for block in self.needs))

    def verify(self) -> None:
        from bench_core.models.chains import nbytes_of

        planned = [block.output_bytes for block in self.needs]
        key = ("output bytes", *self.case)
        found = self.cached(key, lambda: output_bytes(self.chain, self.item))
        if found != planned:
            raise WrongResultError(f"outputs of {found} bytes an item, planned were {planned}")
        self.note(
            blocks=len(planned),
            bytes_an_item=sum(planned),
            input_bytes_an_item=nbytes_of(self.item),
            largest_bytes_an_item=max(planned),
            largest_block=planned.index(max(planned)),
        )


class IoOrCompute(NamedParams):
    """Blocks that could be computed while the input of the first of them would be read.

    For each block: how many blocks, from it on, end within the time in which its input of one
    batch comes from a disk of so many MB/s (10⁶); ``limit`` is the read limit that was probed on
    this machine. The value is the mean over the blocks; the record's extra has each one's count.
    Where it is 0, reading an intermediate result is faster than computing even the next block.
    Each block's time is measured alone, once it is warm.
    """

    params = ((1000, "limit"), ("resnet_tiny", "vit_tiny"), (8, 32), (32, 64))
    param_names = ("read_rate", "architecture", "batch_size", "size")
    quick = {"architecture": ("resnet_tiny", "vit_tiny")}
    open_params = ("architecture",)
    unit = "blocks"
    timeout = 3600

    def prepare(self, read_rate: int | str, architecture: str, batch_size: int, size: int) -> None:
        self.bytes_per_second = self._bytes_per_second(read_rate)
        self.chain = _chain(architecture)
        self.inputs = [item_shapes(self.chain, size)]
        self.inputs += [block.output for block in _needs(self.chain, size)[:-1]]

    def track_blocks(
        self, read_rate: int | str, architecture: str, batch_size: int, size: int
    ) -> float:
        self.seconds = self._block_seconds(batch_size)
        self.read_seconds = [
            batch_size * sum(item.nbytes for item in given) / self.bytes_per_second
            for given in self.inputs
        ]
        self.counts = blocks_while_reading(self.seconds, self.read_seconds)
        return sum(self.counts) / len(self.counts)

    def verify(self) -> None:
        for start, (count, read) in enumerate(zip(self.counts, self.read_seconds, strict=True)):
            within = sum(self.seconds[start : start + count])
            beyond = sum(self.seconds[start : start + count + 1])
            is_end = start + count == len(self.seconds)
            if within > read or (beyond <= read and not is_end):
                raise WrongResultError(f"{count} blocks from block {start} on in {read} s")
        self.note(
            counts=self.counts,
            block_seconds=self.seconds,
            read_seconds=self.read_seconds,
            most=max(self.counts),
            blocks_bound_by_reading=sum(count > 0 for count in self.counts),
        )

    def _bytes_per_second(self, read_rate: int | str) -> float:
        if read_rate != "limit":
            return float(read_rate) * MEGABYTE
        limits = self.limits or limits_of_environment()
        if limits is None or not limits.sequential_read:
            raise RefusedError("the read limit of this machine was not probed")
        return limits.sequential_read

    def _block_seconds(self, batch_size: int) -> list[float]:
        """Return each block's time; equal blocks with equal inputs are measured once."""
        from bench_core.model_search.rates import block_seconds

        cases = list(zip(self.chain.blocks, self.inputs, strict=True))
        taken = {case: block_seconds(*case, batch_size) for case in dict.fromkeys(cases)}
        return [taken[case] for case in cases]


def blocks_while_reading(seconds: Sequence[float], read_seconds: Sequence[float]) -> list[int]:
    """Return for each block how many blocks, from it on, end while its input is read.

    Args:
        seconds: of each block.
        read_seconds: of each block's input.
    """
    counts = []
    for start, read in enumerate(read_seconds):
        ends = itertools.accumulate(seconds[start:])
        counts.append(sum(end <= read for end in ends))
    return counts


def output_bytes(chain: ChainSpec, given: Any) -> list[int]:
    """Return the bytes of each block's output in a real forward pass."""
    from bench_core.models.chains import block_module, initialised, nbytes_of

    found = []
    for spec in chain.blocks:
        given = forward(block_module(spec, initialised(spec, 0)), given)
        found.append(nbytes_of(given))
    return found


def _chain(architecture: str) -> ChainSpec:
    from bench_core.models import chain

    return chain(architecture)


def _needs(chain: ChainSpec, size: int) -> list[BlockResources]:
    from bench_core.models.chains.resources import chain_resources

    return chain_resources(chain.blocks, item_shapes(chain, size))
