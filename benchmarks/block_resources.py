"""What each block of an architecture needs: parameters, bytes, operations, and its time alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.support.chain_inputs import forward, item_shapes
from harness.benchmark import Benchmark
from harness.errors import WrongResultError

if TYPE_CHECKING:
    from harness.limits import Limits


class BlockForward(Benchmark):
    """Inside the clock: the forward pass of one block over one batch, weights and input in memory.

    Each block runs alone; published figures of the same kind are differences of growing prefixes,
    which can be negative. Ideal: its operations at the matrix product's rate.
    """

    params = (("resnet_tiny", "vit_tiny"), (0, 1, 4), (4, 32), (32, 224))
    param_names = ("architecture", "position", "batch_size", "size")
    quick = {"architecture": ("resnet_tiny", "vit_tiny")}
    open_params = ("architecture",)
    timeout = 300

    def prepare(self, architecture: str, position: int, batch_size: int, size: int) -> None:
        from harness.errors import RefusedError

        chain = _chain(architecture)
        if position >= len(chain.blocks):
            raise RefusedError(f"{architecture} has {len(chain.blocks)} blocks")
        key = ("block", architecture, position, batch_size, size)
        self.module, self.given, self.needs = self.cached(
            key, lambda: _block_and_input(architecture, position, batch_size, size)
        )
        self.batch_size = batch_size
        forward(self.module, self.given)

    def time_forward(self, architecture: str, position: int, batch_size: int, size: int) -> Any:
        return forward(self.module, self.given)

    def ideal_seconds(self, limits: Limits) -> float | None:
        return limits.seconds("matmul_flops", self.needs.flops * self.batch_size)

    def verify(self) -> None:
        from bench_core.models.chains import features_of

        first = features_of(self.result)
        expected = (self.batch_size, *self.needs.output[0].shape)
        if tuple(first.shape) != expected:
            raise WrongResultError(f"an output of {tuple(first.shape)}, expected {expected}")
        self.note(
            n_parameters=self.needs.n_parameters,
            parameter_megabytes=self.needs.nbytes / 1e6,
            output_megabytes=self.needs.output_bytes * self.batch_size / 1e6,
            gflop=self.needs.flops * self.batch_size / 1e9,
        )


def _chain(architecture: str) -> Any:
    from bench_core.models import chain

    return chain(architecture)


def _block_and_input(architecture: str, position: int, batch_size: int, size: int) -> Any:
    """Return the block's module, a batch as it arrives there, and what the block needs."""
    from bench_core.model_search.rates import random_batch
    from bench_core.models.chains import block_module, initialised
    from bench_core.models.chains.resources import chain_resources

    chain = _chain(architecture)
    inputs = item_shapes(chain, size)
    needs = chain_resources(chain.blocks, inputs)
    given = inputs if position == 0 else needs[position - 1].output
    module = block_module(chain.blocks[position], initialised(chain.blocks[position], 0))
    return module, random_batch(given, batch_size), needs[position]
